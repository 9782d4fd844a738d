//! Starts a kernel for a notebook, and ends it with everything that it started.

use std::{
    ffi::OsStr,
    fs::File,
    io::{PipeReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use jupyter_protocol::{ConnectionInfo, connection_info::Transport};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::{sync::watch, time::timeout};

use super::{client::Client, secrets::Secrets};
use crate::environment;

/// How to start a kernel: a program and its arguments, with `{connection_file}` where that file's path belongs.
#[derive(Debug, Clone)]
pub struct KernelCommand(Vec<String>);

impl KernelCommand {
    /// This program's own kernel.
    pub fn own() -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let program = program.to_str().context("this program's path is not valid UTF-8")?.to_owned();
        Ok(Self(vec![program, "kernel".into(), "--connection-file".into(), "{connection_file}".into()]))
    }

    /// Words separated by blanks.
    pub fn parse(text: &str) -> Result<Self> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() || !text.contains("{connection_file}") {
            bail!("a kernel command needs a program and {{connection_file}}: {text:?}");
        }
        Ok(Self(words))
    }

    fn command(&self, connection_file: &Path) -> Command {
        let file = connection_file.to_string_lossy();
        let mut words = self.0.iter().map(|word| word.replace("{connection_file}", &file));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

/// Where a kernel runs, and what it gets.
#[derive(Debug, Clone, Copy)]
pub struct LaunchOptions<'a> {
    /// Its working directory.
    pub folder: &'a Path,
    /// The file for what it writes itself.
    pub log: &'a Path,
    /// Environment variables beside our own.
    pub variables: &'a [(&'a str, &'a OsStr)],
    /// Variables of ours that it does not get.
    pub withheld: &'a [&'a str],
    /// What must not be in its log.
    pub secrets: &'a Secrets,
}

/// A running kernel process.
pub struct Kernel {
    group: Pid,
    exit: watch::Receiver<Option<String>>,
    log: PathBuf,
    /// True when the log is complete.
    logged: watch::Receiver<bool>,
    // Holds the connection file and the sockets; removed with the kernel.
    _folder: TempDir,
}

/// How long a kernel may take to answer for the first time.
const START: Duration = Duration::from_secs(60);

impl Kernel {
    /// Starts a kernel and connects to it.
    ///
    /// # Errors
    /// The kernel cannot be started, ends at once, or does not answer.
    pub async fn launch(command: &KernelCommand, around: LaunchOptions<'_>) -> Result<(Self, Client)> {
        let LaunchOptions { folder, log, variables, withheld, secrets } = around;
        let (scratch, info, connection_file) = connection()?;
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let (logged, (stdout, stderr)) = log_without_secrets(output, secrets)?;
        let mut process = command.command(&connection_file);
        environment::scrub(&mut process);
        process
            .current_dir(folder)
            .envs(variables.iter().copied())
            .env("IGPT_HEADLESS", "1")
            // By this kernels notice that their client is gone.
            .env("JPY_PARENT_PID", std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        for name in withheld {
            process.env_remove(name);
        }
        // A group of its own: Ctrl-C in the terminal is for us to handle, and one signal reaches all its children.
        std::os::unix::process::CommandExt::process_group(&mut process, 0);
        let program = process.get_program().to_string_lossy().into_owned();
        let mut child = tokio::process::Command::from(process)
            .spawn()
            .with_context(|| format!("cannot start the kernel {program}"))?;
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let group = id.context("the kernel ended at once")?;
        alive().push(group);
        let (sender, exit) = watch::channel(None);
        tokio::spawn(async move {
            let how = match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => format!("its process cannot be watched: {error}"),
            };
            let _ = sender.send(Some(how));
        });
        let mut kernel = Self { group, exit: exit.clone(), log: log.to_owned(), logged, _folder: scratch };
        match Client::connect(&info, exit, START).await {
            Ok(client) => Ok((kernel, client)),
            Err(error) => {
                kernel.kill();
                kernel.wait_for_log().await;
                Err(error.context(kernel.last_words()))
            }
        }
    }

    /// Ends the kernel: asks, waits, kills; then sweeps up what it started.
    pub async fn shut_down(mut self, client: &mut Client, patience: Duration) {
        let asked = async {
            client.shutdown().await?;
            self.exit.wait_for(Option::is_some).await?;
            anyhow::Ok(())
        };
        let _ = timeout(patience, asked).await;
        self.kill();
        // The connection's folder must outlive the process.
        let _ = timeout(Duration::from_secs(5), self.exit.wait_for(Option::is_some)).await;
        self.wait_for_log().await;
    }

    /// The kernel's process, which leads a group of its own.
    pub fn process(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Somebody who was not swept up may hold the log open.
    async fn wait_for_log(&mut self) {
        let _ = timeout(Duration::from_secs(2), self.logged.wait_for(|logged| *logged)).await;
    }

    fn kill(&self) {
        let _ = kill_process_group(self.group, Signal::KILL);
    }

    /// The end of the kernel's log, for messages about kernels that did not start.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        match &lines[lines.len().saturating_sub(5)..] {
            [] => format!("the kernel did not start (its log {} is empty)", self.log.display()),
            last => {
                format!("the kernel did not start; its log {} ends:\n{}", self.log.display(), last.join("\n"))
            }
        }
    }
}

/// Two ends for a process to write to, and news of the end of all writing. Without secrets the process writes to the
/// file itself; else what it writes passes through us.
fn log_without_secrets(mut file: File, secrets: &Secrets) -> Result<(watch::Receiver<bool>, (Stdio, Stdio))> {
    let (sender, logged) = watch::channel(false);
    if secrets.is_empty() {
        sender.send_replace(true);
        return Ok((logged, (file.try_clone()?.into(), file.into())));
    }
    let (mut reader, writer) = std::io::pipe().context("cannot make a pipe for the kernel's log")?;
    let ends = (writer.try_clone()?.into(), writer.into());
    let secrets = secrets.clone();
    std::thread::spawn(move || {
        // The kernel must not block because its log cannot be written: what comes then is read and lost.
        let _ = copy_without_secrets(&mut reader, &mut file, &secrets);
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
        sender.send_replace(true);
    });
    Ok((logged, ends))
}

fn copy_without_secrets(reader: &mut PipeReader, file: &mut File, secrets: &Secrets) -> std::io::Result<()> {
    let mut masking = secrets.writer(file);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return masking.finish(),
            Ok(length) => masking.write_all(&buffer[..length])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Drop for Kernel {
    // Also when the run is abandoned half-way: no kernel outlives its notebook.
    fn drop(&mut self) {
        self.kill();
        alive().retain(|group| *group != self.group);
    }
}

/// The process groups of all kernels of this run.
static ALIVE: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn alive() -> MutexGuard<'static, Vec<Pid>> {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills every kernel at once, for a run that must end now.
pub fn kill_all() {
    for group in alive().drain(..) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// A connection over socket files in a private folder: no ports that two kernels could fight for, nothing that
/// another user of the machine could connect to.
fn connection() -> Result<(TempDir, ConnectionInfo, PathBuf)> {
    let prefixed = || tempfile::Builder::new().prefix("igpt-").rand_bytes(8).to_owned();
    let mut folder = prefixed().tempdir().context("cannot make a temporary folder")?;
    // A socket's path may have about a hundred bytes.
    if folder.path().as_os_str().len() > 80 {
        folder = prefixed().tempdir_in("/tmp").context("cannot make a temporary folder")?;
    }
    let info = ConnectionInfo {
        transport: Transport::IPC,
        ip: folder
            .path()
            .join("channel")
            .to_str()
            .context("the temporary folder is not valid UTF-8")?
            .to_owned(),
        shell_port: 1,
        iopub_port: 2,
        stdin_port: 3,
        control_port: 4,
        hb_port: 5,
        key: uuid::Uuid::new_v4().to_string(),
        signature_scheme: "hmac-sha256".into(),
        kernel_name: Some("igpt".into()),
    };
    let file = folder.path().join("connection.json");
    std::fs::write(&file, serde_json::to_string(&info)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok((folder, info, file))
}
