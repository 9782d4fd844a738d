//! NVIDIA's libraries, found when the program runs: the driver's, NVRTC (the compiler) and cuBLASLt. Nothing of CUDA is
//! needed to build this library or to start it.
//!
//! The driver's library comes with the driver. The others are looked for in the folders that `IGPT_CUDA_LIBRARIES` names
//! (separated by colons), where the system's loader looks, in CUDA's own folders, and in Python's packages: PyTorch brings
//! both, and so do `nvidia-cuda-nvrtc-cu12` and `nvidia-cublas-cu12`.

use crate::{Error, Result};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Loads NVRTC, for a driver of this CUDA version (13000 is 13.0), for all that ask the system's loader afterwards.
/// Returns its version.
pub(super) fn nvrtc(driver: i32) -> Result<(i32, i32)> {
    load("nvrtc", "nvidia-cuda-nvrtc-cu12", driver)?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is loaded, and gets places for two numbers.
    let asked = unsafe { cudarc::nvrtc::sys::nvrtcVersion(&mut major, &mut minor) }.result();
    check("NVRTC", asked.map_or(0, |()| major), driver)?;
    Ok((major, minor))
}

/// The same with cuBLASLt.
pub(super) fn cublas_lt(driver: i32) -> Result<()> {
    load("cublasLt", "nvidia-cublas-cu12", driver)?;
    // SAFETY: the library is loaded.
    let version = unsafe { cudarc::cublaslt::sys::cublasLtGetCudartVersion() };
    check("cuBLASLt", version as i32 / 1000, driver)
}

/// The newest CUDA whose libraries cudarc looks for.
const NEWEST: i32 = 13;

/// Whoever asks for a library may get another one of its name that the system's loader finds first.
fn check(name: &str, major: i32, driver: i32) -> Result<()> {
    if (12..=driver / 1000).contains(&major) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the system's loader gives a {name} of CUDA {major}, but the driver works with CUDA 12 to {}: take its folder out of \
         LD_LIBRARY_PATH or of the loader's configuration, or set IGPT_DEVICE=cpu",
        driver / 1000
    )))
}

/// Loads the newest one that the driver can work with: that of its own major version, or of one before.
fn load(name: &str, package: &str, driver: i32) -> Result<()> {
    let files: Vec<String> =
        (12..=(driver / 1000).min(NEWEST)).rev().map(|major| format!("lib{name}.so.{major}")).collect();
    let within = |folders: &[PathBuf]| {
        let mut paths = files.iter().flat_map(|file| folders.iter().map(move |folder| folder.join(file)));
        paths.any(|path| path.exists() && open(&path))
    };
    let named = named();
    if within(&named) || files.iter().any(|file| open(Path::new(file))) {
        return Ok(());
    }
    let folders = [named, folders()].concat();
    if within(&folders) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "none of {} was found by the system's loader or in {} folders of CUDA and Python: install it (`pip install \
         {package}`), name its folder in IGPT_CUDA_LIBRARIES, or set IGPT_DEVICE=cpu",
        if files.is_empty() { format!("lib{name}.so.12") } else { files.join(", ") },
        folders.len()
    )))
}

/// Whether a library could be loaded; it stays, and is what others get who ask for its name.
fn open(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: NVIDIA's libraries may be loaded at any time.
    !unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) }.is_null()
}

fn variable(name: &str) -> Option<std::ffi::OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Where someone says that they lie.
fn named() -> Vec<PathBuf> {
    variable("IGPT_CUDA_LIBRARIES").map_or(Vec::new(), |all| env::split_paths(&all).collect())
}

/// Where else they may lie.
fn folders() -> Vec<PathBuf> {
    let cuda = ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(|name| variable(name)).map(PathBuf::from);
    let usual = entries(Path::new("/usr/local"), "cuda");
    let mut folders: Vec<PathBuf> = cuda.chain(usual).map(|folder| folder.join("lib64")).collect();
    folders.extend(variable("CONDA_PREFIX").map(|conda| Path::new(&conda).join("lib")));
    // Python's environments, the active one first, and the notebooks' own.
    let mut pythons: Vec<PathBuf> =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(|name| variable(name)).map(PathBuf::from).collect();
    pythons.push(crate::root::folder().join(".venv"));
    pythons.extend(variable("HOME").map(|home| Path::new(&home).join(".local")));
    pythons.extend(["/usr/local".into(), "/usr".into()]);
    for python in pythons {
        for library in entries(&python.join("lib"), "python3") {
            for packages in ["site-packages", "dist-packages"] {
                let packages = entries(&library.join(packages).join("nvidia"), "");
                folders.extend(packages.into_iter().map(|package| package.join("lib")));
            }
        }
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

/// What a folder has whose name begins so, in the order of names; nothing if there is no such folder.
fn entries(folder: &Path, start: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = all.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
    let mut paths: Vec<_> = named.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
