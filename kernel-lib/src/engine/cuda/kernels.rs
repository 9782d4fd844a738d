//! Kernels are compiled when they are first needed, for the GPU that is there, by NVRTC, and kept in
//! `~/.cache/igpt/kernels` (or where `IGPT_CACHE` says).

use super::device::Element;
use super::{libraries, source};
use crate::hex::hex;
use crate::{Error, Result, atomic};
use cudarc::nvrtc;
use sha2::{Digest as _, Sha256};
use std::ffi::CString;
use std::path::PathBuf;
use std::{env, fs};

/// A GPU's architecture, as `sm_90` is (9, 0).
pub(super) type Architecture = (i32, i32);

/// The kernels as code for an architecture, for a driver of this CUDA version.
///
/// # Errors
/// If there is no compiler, or it refuses them.
pub(super) fn code((major, minor): Architecture, rounded: Element, driver: i32) -> Result<Vec<u8>> {
    let version = libraries::nvrtc(driver)?;
    let [language, precision, kernels] = source::options(rounded);
    let options = [format!("--gpu-architecture=sm_{major}{minor}"), language, precision, kernels];
    let text = source::text();
    // Whatever decides what the code is.
    let key = Sha256::digest(format!("{options:?}\n{version:?}\n{driver}\n{text}"));
    let path = folder().map(|folder| folder.join(format!("{}.cubin", &hex(&key)[..32])));
    if let Some(code) = path.as_ref().and_then(|path| unwrapped(fs::read(path).ok()?)) {
        return Ok(code);
    }
    let code = compile(&text, &options)?;
    if let Some(path) = path {
        // A cache that cannot be written costs time only.
        let _ = fs::create_dir_all(path.parent().unwrap_or(&path))
            .map_err(|error| Error::io(&path, error))
            .and_then(|()| atomic::write(&path, &[&Sha256::digest(&code)[..], &code].concat()));
    }
    Ok(code)
}

/// The code in a file of the cache; none if it is damaged.
fn unwrapped(file: Vec<u8>) -> Option<Vec<u8>> {
    let (hash, code) = file.split_at_checked(32)?;
    (Sha256::digest(code)[..] == *hash).then(|| code.to_vec())
}

/// Where they are kept, as the command's own cache.
fn folder() -> Option<PathBuf> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let usual = || {
        let cache = variable("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
        Some(cache.or_else(|| Some(variable("HOME")?.join(".cache")))?.join("igpt"))
    };
    Some(variable("IGPT_CACHE").or_else(usual)?.join("kernels"))
}

fn failed(error: nvrtc::result::NvrtcError) -> Error {
    Error::Device { device: "NVRTC".into(), what: format!("{:?}", error.0) }
}

/// A program of the compiler, destroyed when it is dropped.
struct Program(nvrtc::sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: it was created and not destroyed.
        let _ = unsafe { nvrtc::result::destroy_program(self.0) };
    }
}

fn compile(text: &str, options: &[String]) -> Result<Vec<u8>> {
    let text = CString::new(text).map_err(|error| Error::invalid(format!("a kernel's source: {error}")))?;
    let program = Program(nvrtc::result::create_program(&text, Some(c"igpt.cu")).map_err(failed)?);
    // SAFETY: the program was created, and is destroyed at the end of this.
    unsafe {
        if let Err(error) = nvrtc::result::compile_program(program.0, options) {
            let log = nvrtc::result::get_program_log(program.0).unwrap_or_default();
            let log: Vec<u8> = log.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
            let hint = match error.0 {
                nvrtc::sys::nvrtcResult::NVRTC_ERROR_INVALID_OPTION => {
                    ". If it is older than the GPU, install a newer one, or set IGPT_DEVICE=cpu"
                }
                _ => "",
            };
            return Err(Error::Device {
                device: "NVRTC".into(),
                what: format!(
                    "{:?} with {}: {}{hint}",
                    error.0,
                    options.join(" "),
                    String::from_utf8_lossy(&log).trim()
                ),
            });
        }
        let mut size = 0;
        nvrtc::sys::nvrtcGetCUBINSize(program.0, &mut size).result().map_err(failed)?;
        let mut code = vec![0_u8; size];
        nvrtc::sys::nvrtcGetCUBIN(program.0, code.as_mut_ptr().cast()).result().map_err(failed)?;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where NVRTC can be had (it needs no GPU), all kernels compile for Ampere and Hopper. Set
    /// `IGPT_REQUIRE_NVRTC=1` where it must be there.
    #[test]
    fn all_kernels_compile_for_real_architectures() {
        let driver = 12_090;
        if let Err(error) = libraries::nvrtc(driver) {
            assert!(env::var_os("IGPT_REQUIRE_NVRTC").is_none(), "{error}");
            eprintln!("skipped: {error}");
            return;
        }
        for architecture in [(8, 0), (9, 0)] {
            for rounded in [Element::F32, Element::Bf16] {
                let code = code(architecture, rounded, driver).unwrap();
                assert_eq!(code[..4], *b"\x7fELF", "{architecture:?} {rounded:?}");
            }
        }
        let error = compile("nonsense", &["--std=c++17".into()]).unwrap_err().to_string();
        assert!(error.contains("nonsense"), "{error}");
    }

    #[test]
    fn a_damaged_file_of_the_cache_is_no_code() {
        let whole = [&Sha256::digest(b"code")[..], b"code"].concat();
        assert_eq!(unwrapped(whole.clone()).as_deref(), Some(&b"code"[..]));
        assert_eq!(unwrapped(whole[..35].to_vec()), None);
        assert_eq!(unwrapped(whole[..5].to_vec()), None);
    }
}
