//! What a process was started with, as far as cells can see it: two kernels of the same place would start the same engine.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::process::Resource;
use serde::{Deserialize, Serialize};

use crate::{
    dirs,
    environment::{LAUNCH, SPARE},
};

/// How a process is started that is to be at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The file of this program.
    pub program: PathBuf,
    /// The checkout whose library it gets.
    pub root: PathBuf,
    /// Its folder.
    pub folder: PathBuf,
    /// All of its environment, but for what a server sets for each notebook.
    pub environment: BTreeMap<String, String>,
}

/// Where a process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What can be chosen when it is started.
    pub start: Start,
    /// The files of this program and of evcxr: which ones, and since when.
    files: BTreeMap<String, String>,
    /// What it inherits besides, as its user and its control group.
    inherited: BTreeMap<String, String>,
}

/// How one place differs from another.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference {
    /// A process can be started at the other one.
    Start(String),
    /// It can not: what differs is inherited.
    Inherited(String),
}

impl Place {
    /// That of this process, for the library of the checkout `root`.
    ///
    /// # Errors
    /// If the folder is gone, or something is not Unicode.
    pub fn of_this_process(root: &Path) -> Result<Self> {
        Self::with_evcxr(root, &dirs::evcxr()?)
    }

    /// With another program than that of evcxr, which is not there where unit tests run.
    pub(super) fn with_evcxr(root: &Path, evcxr: &Path) -> Result<Self> {
        let program = env::current_exe().context("cannot find this program's own file")?;
        let files = [("igpt", Path::new("/proc/self/exe")), ("evcxr", evcxr)];
        let files = files.map(|(name, file)| anyhow::Ok((name.to_owned(), identity(file)?)));
        let start = Start {
            program,
            root: root.to_owned(),
            folder: env::current_dir().context("the folder of the kernel is gone")?,
            environment: environment(env::vars_os())?,
        };
        let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
        Ok(Self { start, files: files.into_iter().collect::<Result<_>>()?, inherited: inherited(&status) })
    }

    /// What is different at `other`, if anything is.
    pub fn differs_from(&self, other: &Self) -> Option<Difference> {
        let (here, there) = (&self.start, &other.start);
        if let Some(name) = first_different(&self.inherited, &other.inherited) {
            return Some(Difference::Inherited(name.to_owned()));
        }
        let what = match first_different(&self.files, &other.files) {
            Some(name) => format!("another file of {name}"),
            None if here.program != there.program => "another program".into(),
            None if here.root != there.root => "another checkout".into(),
            None if here.folder != there.folder => "another folder".into(),
            // Not its value, which may be a secret.
            None => format!("another {}", first_different(&here.environment, &there.environment)?),
        };
        Some(Difference::Start(what))
    }
}

/// What a server has set for the notebook of this process.
///
/// # Errors
/// If it is not Unicode.
pub fn launch_variables() -> Result<Vec<(String, String)>> {
    let set = LAUNCH.iter().filter_map(|name| Some((*name, env::var_os(name)?)));
    let text = |(name, value): (&str, std::ffi::OsString)| Ok((name.to_owned(), unicode(name, value)?));
    set.map(text).collect()
}

/// The limits of a process that are its own, and can be set from outside.
pub const LIMITS: [Resource; 16] = [
    Resource::As,
    Resource::Core,
    Resource::Cpu,
    Resource::Data,
    Resource::Fsize,
    Resource::Locks,
    Resource::Memlock,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Nofile,
    Resource::Nproc,
    Resource::Rss,
    Resource::Rtprio,
    Resource::Rttime,
    Resource::Sigpending,
    Resource::Stack,
];

/// What of an environment belongs to a place.
///
/// # Errors
/// If something is not Unicode.
pub fn environment(
    all: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<BTreeMap<String, String>> {
    let kept = all.filter(|(name, _)| *name != *SPARE && LAUNCH.iter().all(|launch| *name != **launch));
    kept.map(|(name, value)| {
        let name = unicode("the name of a variable", name)?;
        let value = unicode(&name, value)?;
        Ok((name, value))
    })
    .collect()
}

fn unicode(name: &str, value: std::ffi::OsString) -> Result<String> {
    value.into_string().ok().with_context(|| format!("{name} is not Unicode"))
}

fn identity(file: &Path) -> Result<String> {
    let about = fs::metadata(file).with_context(|| format!("cannot look at {}", file.display()))?;
    let (seconds, part) = (about.mtime(), about.mtime_nsec());
    Ok(format!("{}:{} of {} bytes, {seconds}.{part:09}", about.dev(), about.ino(), about.len()))
}

/// Lines of a process's status that it has from whoever started it.
const STATUS: [&str; 14] = [
    "Uid",
    "Gid",
    "Groups",
    "Umask",
    "NoNewPrivs",
    "Seccomp",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "Cpus_allowed_list",
    "Mems_allowed_list",
    "SigBlk",
];
const FILES: [&str; 2] = ["cgroup", "oom_score_adj"];
const NAMESPACES: [&str; 6] = ["ipc", "mnt", "net", "pid", "user", "uts"];

fn inherited(status: &str) -> BTreeMap<String, String> {
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let lines = lines.filter(|(name, _)| STATUS.contains(name)).map(|(name, text)| (name, text.to_owned()));
    let files =
        FILES.map(|name| (name, fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()));
    let namespace = |name: &'static str| {
        let target = fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
        (name, target.to_string_lossy().into_owned())
    };
    let all = lines.chain(files).chain(NAMESPACES.map(namespace));
    all.map(|(name, text)| (name.to_owned(), text.trim().to_owned())).collect()
}

fn first_different<'a>(
    some: &'a BTreeMap<String, String>,
    other: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    let mut names = some.keys().chain(other.keys());
    names.find(|name| some.get(*name) != other.get(*name)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        environment(all.iter().map(|(name, value)| (name.into(), value.into()))).unwrap()
    }

    #[test]
    fn whatever_a_cell_could_see_makes_another_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("evcxr");
        fs::write(&file, "1").unwrap();
        let here = Place {
            start: Start {
                program: "/igpt".into(),
                root: "/checkout".into(),
                folder: "/checkout/notebooks".into(),
                environment: variables(&[("A", "1"), ("HF_TOKEN", "secret")]),
            },
            files: [("evcxr".to_owned(), identity(&file).unwrap())].into(),
            inherited: inherited("Name:\tigpt\nUid:\t1\t1\nUmask:\t0022\nVmPeak:\t10 kB\n"),
        };
        assert_eq!(here.differs_from(&here.clone()), None);
        let changed = |change: &dyn Fn(&mut Place)| {
            let mut other = here.clone();
            change(&mut other);
            other.differs_from(&here)
        };
        let start = |what: &str| Some(Difference::Start(what.into()));
        assert_eq!(changed(&|place| place.start.program = "/other".into()), start("another program"));
        assert_eq!(changed(&|place| place.start.root = "/other".into()), start("another checkout"));
        assert_eq!(changed(&|place| place.start.folder = "/checkout".into()), start("another folder"));
        let set = |all: &[(&str, &str)]| {
            let all = variables(all);
            changed(&|place| place.start.environment = all.clone())
        };
        assert_eq!(set(&[("A", "1"), ("HF_TOKEN", "other")]), start("another HF_TOKEN"));
        assert_eq!(set(&[("A", "1")]), start("another HF_TOKEN"));
        assert_eq!(set(&[("A", "1"), ("HF_TOKEN", "secret"), ("B", "")]), start("another B"));
        // Not what is set for each notebook, nor where the spare is asked for.
        let set_for_each = [("JPY_SESSION_NAME", "a"), ("JPY_PARENT_PID", "7"), (SPARE, "name")];
        assert_eq!(set(&[&[("A", "1"), ("HF_TOKEN", "secret")], &set_for_each[..]].concat()), None);
        fs::write(&file, "22").unwrap();
        let files = [("evcxr".to_owned(), identity(&file).unwrap())];
        assert_eq!(changed(&|place| place.files = files.clone().into()), start("another file of evcxr"));
        let umask = inherited("Name:\tother\nUid:\t1\t1\nUmask:\t0077\nVmPeak:\t20 kB\n");
        let differs = changed(&|place| place.inherited = umask.clone());
        assert_eq!(differs, Some(Difference::Inherited("Umask".into())));
    }

    #[test]
    fn this_process_is_at_its_place() {
        let here = || Place::with_evcxr(Path::new("/checkout"), Path::new("/proc/self/exe")).unwrap();
        assert_eq!(here().differs_from(&here()), None);
        let here = here();
        assert!(["Uid", "Umask", "cgroup", "mnt"].iter().all(|name| here.inherited.contains_key(*name)));
    }
}
