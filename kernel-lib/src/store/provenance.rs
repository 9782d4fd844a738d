//! Where a result comes from.

use super::description::Data;
use super::{Description, Key};
use crate::show::{Show, Table};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where a stored result comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Provenance {
    /// The step's name.
    pub step: String,
    /// The result's key.
    pub key: Key,
    /// Everything that decided the result, as JSON: see [`Description::description`].
    pub description: String,
    /// The seed of all chance in it, if there was any.
    pub seed: Option<u64>,
    /// The device that computed it.
    pub device: String,
    /// How many threads it could use. They do not change the result.
    pub threads: usize,
    /// The version of this library.
    pub version: String,
    /// The commit that was checked out, if that is known. The sources may have been changed since; the hashes in
    /// `description` are of what was compiled.
    pub commit: Option<String>,
    /// The data's name, if it read any; of several, one after the other, as the next two.
    pub data: Option<String>,
    /// The data's revision.
    pub data_revision: Option<String>,
    /// The SHA-256 of the data.
    pub data_sha256: Option<String>,
    /// What it took, in milliseconds, without the results that it needed; of an interrupted computation only since it was last
    /// continued.
    pub wall_ms: u64,
    /// When it was finished, in UTC: `2026-11-25T04:00:00Z`.
    pub date: String,
}

impl Provenance {
    pub(super) fn of(step: &Description, wall: Duration) -> Self {
        let data = |field: fn(&Data) -> &str| -> Option<String> {
            let fields: Vec<&str> =
                step.data_read().iter().map(field).filter(|text| !text.is_empty()).collect();
            (!fields.is_empty()).then(|| fields.join(", "))
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            step: step.name().to_owned(),
            key: step.key(),
            description: step.description(),
            seed: step.seed_used(),
            device: step.device_used().to_owned(),
            threads: rayon::current_num_threads(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: crate::root().ok().and_then(|root| commit(&root)),
            data: data(|data| &data.name),
            data_revision: data(|data| &data.revision),
            data_sha256: data(|data| &data.sha256),
            wall_ms: wall.as_millis().try_into().unwrap_or(u64::MAX),
            date: date(now.as_secs()),
        }
    }

    fn table(&self) -> Table {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".into());
        let rows = [
            ("Key", self.key.to_string()),
            ("Computed at", self.date.clone()),
            ("Took (s)", format!("{:.1}", self.wall_ms as f64 / 1000.0)),
            ("Device", format!("{}, {} threads", self.device, self.threads)),
            ("Seed", self.seed.map_or_else(|| "–".into(), |seed| seed.to_string())),
            ("Library", format!("igpt {}", self.version)),
            ("Commit", or_none(&self.commit)),
            ("Data", or_none(&self.data)),
            ("Data's revision", or_none(&self.data_revision)),
            ("Data's SHA-256", or_none(&self.data_sha256)),
            ("Decided by", self.description.clone()),
        ];
        let rows = rows.map(|(name, value)| [name.into(), crate::show::Cell::text(value)]);
        Table::of(["", ""], rows).caption(format!("Where {} comes from", self.step))
    }
}

impl Show for Provenance {
    fn to_html(&self) -> String {
        self.table().to_html()
    }
    fn to_text(&self) -> String {
        self.table().to_text()
    }
}

crate::show::displays!(Provenance);

/// The commit that is checked out at `root`, read from git's files.
fn commit(root: &Path) -> Option<String> {
    let read = |path: &Path| Some(fs::read_to_string(path).ok()?.trim().to_owned());
    let mut git = root.join(".git");
    if git.is_file() {
        // A worktree's: `gitdir: <folder>`, absolute or from here.
        git = root.join(read(&git)?.strip_prefix("gitdir: ")?);
    }
    let head = read(&git.join("HEAD"))?;
    let commit = match head.strip_prefix("ref: ") {
        None => head,
        Some(name) => {
            let common = read(&git.join("commondir")).map_or_else(|| git.clone(), |common| git.join(common));
            read(&git.join(name)).or_else(|| read(&common.join(name))).or_else(|| {
                let packed = read(&common.join("packed-refs"))?;
                let line = packed.lines().find(|line| line.split(' ').nth(1) == Some(name))?;
                Some(line.split(' ').next()?.to_owned())
            })?
        }
    };
    (commit.len() >= 40 && commit.bytes().all(|b| b.is_ascii_hexdigit())).then_some(commit)
}

/// Seconds since 1970 as a date (the civil calendar, in the way of Howard Hinnant's `civil_from_days`).
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn the_commit_is_found_wherever_git_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let (root, sha) = (folder.path(), "0123456789abcdef0123456789abcdef01234567");
        assert_eq!(commit(root), None);
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(".git/HEAD", "ref: refs/heads/main\n");
        assert_eq!(commit(root), None);
        write(".git/packed-refs", &format!("# pack-refs\n{sha} refs/heads/main\n"));
        assert_eq!(commit(root).as_deref(), Some(sha));
        let other = sha.replace('0', "f");
        write(".git/refs/heads/main", &format!("{other}\n"));
        assert_eq!(commit(root), Some(other.clone()));
        write(".git/HEAD", sha);
        assert_eq!(commit(root).as_deref(), Some(sha));
        // A worktree.
        write("tree/.git", "gitdir: ../.git/worktrees/tree\n");
        write(".git/worktrees/tree/HEAD", "ref: refs/heads/main\n");
        write(".git/worktrees/tree/commondir", "../..\n");
        assert_eq!(commit(&root.join("tree")), Some(other));
    }
}
