//! How one process gives an engine to another: over a socket of an abstract name, which leaves no file behind. A line of JSON each
//! way; with the answer come the guard's three pipes and the lock of the slot. Only processes of the same user are listened to.

use std::{
    io::{BufRead as _, BufReader, IoSlice, IoSliceMut, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg, sockopt::socket_peercred,
};
use serde::{Deserialize, Serialize};

use super::{
    super::evcxr::{Pipes, Reached},
    place::Place,
};

/// What a kernel asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Where it is.
    pub place: Place,
    /// The fingerprint of the library as it is now.
    pub fingerprint: String,
    /// Its priority.
    pub priority: i32,
}

/// What it is answered, before the pipes.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Refused(String),
    Handed { reached: Reached, folder: PathBuf },
}

/// An engine that changes hands.
#[derive(Debug)]
pub struct Handed {
    /// How it is reached.
    pub reached: Reached,
    /// Its guard's pipes.
    pub pipes: Pipes,
    /// The folder of its slot.
    pub folder: PathBuf,
}

/// A place and an environment have at most this many bytes.
const LONGEST: u64 = 4 << 20;
/// The pipes and the lock.
const PASSED: usize = 4;

/// The socket of this name.
///
/// # Errors
/// If somebody has it.
pub fn listen(name: &str) -> Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(name)?;
    UnixListener::bind_addr(&address).with_context(|| format!("cannot listen at {name}"))
}

/// Asks at a name; an answer in `patience` is an engine and the lock of its slot.
///
/// # Errors
/// If nobody listens, or answers, or there is no engine for this one.
pub fn ask(name: &str, ask: &Ask, patience: Duration) -> Result<(Handed, OwnedFd)> {
    let address = SocketAddr::from_abstract_name(name)?;
    let mut stream = UnixStream::connect_addr(&address).context("none is kept ready now")?;
    be_among_ourselves(&stream)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(&line(ask)?)?;
    let (text, passed) = receive(&stream)?;
    match serde_json::from_slice(&text).context("the answer is not understood")? {
        Answer::Refused(reason) => bail!(reason),
        Answer::Handed { reached, folder } => {
            let passed = <[OwnedFd; PASSED]>::try_from(passed).ok().context("pipes are missing")?;
            let [lifeline, news, log, lock] = passed;
            Ok((Handed { reached, pipes: Pipes { lifeline, news, log }, folder }, lock))
        }
    }
}

/// Reads what somebody asks.
///
/// # Errors
/// If it is another user, or does not ask in `patience`.
pub fn hear(stream: &UnixStream, patience: Duration) -> Result<Ask> {
    be_among_ourselves(stream)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut text = Vec::new();
    BufReader::new(std::io::Read::take(stream, LONGEST)).read_until(b'\n', &mut text)?;
    serde_json::from_slice(&text).context("the question is not understood")
}

/// Says no.
///
/// # Errors
/// If the one who asked is gone.
pub fn refuse(mut stream: &UnixStream, reason: String) -> Result<()> {
    Ok(stream.write_all(&line(&Answer::Refused(reason))?)?)
}

/// Hands it over. When this returns, this process has nothing of it any more; if it fails, nobody has, and evcxr ends.
///
/// # Errors
/// If the one who asked is gone.
pub fn hand(stream: &UnixStream, handed: Handed, lock: OwnedFd) -> Result<()> {
    let Handed { reached, pipes: Pipes { lifeline, news, log }, folder } = handed;
    let text = line(&Answer::Handed { reached, folder })?;
    let passed: [BorrowedFd<'_>; PASSED] = [lifeline.as_fd(), news.as_fd(), log.as_fd(), lock.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    ensure!(beside.push(SendAncillaryMessage::ScmRights(&passed)), "no room for pipes");
    let sent = sendmsg(stream, &[IoSlice::new(&text)], &mut beside, SendFlags::NOSIGNAL)?;
    // Once a byte is sent the pipes are on their way.
    let mut rest: &UnixStream = stream;
    Ok(rest.write_all(text.get(sent..).unwrap_or_default())?)
}

fn line(what: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    Ok(line)
}

fn receive(stream: &UnixStream) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut text, mut passed) = (Vec::new(), Vec::new());
    while !text.ends_with(b"\n") {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC)
            .context("there is no answer")?
            .bytes;
        ensure!(got > 0 && (text.len() as u64) < LONGEST, "it was taken by another kernel, or given up");
        text.extend(&bytes[..got]);
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(all) = message {
                passed.extend(all);
            }
        }
    }
    Ok((text, passed))
}

/// Abstract names can be used by everybody on the machine.
fn be_among_ourselves(stream: &UnixStream) -> Result<()> {
    let other = socket_peercred(stream).context("who is at the other end?")?.uid;
    ensure!(other == rustix::process::geteuid(), "another user is at the other end");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn engine() -> (Handed, OwnedFd, std::io::PipeReader) {
        let (lifeline_end, lifeline) = std::io::pipe().unwrap();
        let (news, _) = std::io::pipe().unwrap();
        let (log, _) = std::io::pipe().unwrap();
        let reached = serde_json::from_value(
            serde_json::json!({"ports": [1, 2, 3, 4, 5], "key": "k", "guard": 6, "process": 7}),
        );
        let pipes = Pipes { lifeline: lifeline.into(), news: news.into(), log: log.into() };
        let handed = Handed { reached: reached.unwrap(), pipes, folder: "/slot/0".into() };
        (handed, tempfile::tempfile().unwrap().into(), lifeline_end)
    }

    fn a_name() -> String {
        format!("igpt-spare-test-{}", uuid::Uuid::new_v4())
    }

    fn an_ask() -> Ask {
        let place = Place::with_evcxr("/checkout".as_ref(), "/proc/self/exe".as_ref()).unwrap();
        Ask { place, fingerprint: "f".into(), priority: 3 }
    }

    /// Whether the last one who had the other end is gone.
    fn is_closed(mut end: std::io::PipeReader) -> bool {
        let (sender, read) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(end.read(&mut [0])));
        matches!(read.recv_timeout(Duration::from_secs(5)), Ok(Ok(0)))
    }

    #[test]
    fn an_engine_belongs_to_the_one_who_took_it() {
        let wanted = an_ask();
        let name = a_name();
        let listener = listen(&name).unwrap();
        assert!(listen(&name).is_err(), "two listen at one name");
        let (handed, lock, lifeline) = engine();
        let expected = handed.reached.clone();
        let heard = wanted.clone();
        let gives = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            assert_eq!(hear(&stream, Duration::from_secs(5)).unwrap(), heard);
            hand(&stream, handed, lock).unwrap();
        });
        let (taken, _lock) = ask(&name, &wanted, Duration::from_secs(5)).unwrap();
        gives.join().unwrap();
        assert_eq!((&taken.reached, taken.folder.to_str()), (&expected, Some("/slot/0")));
        // The giver has no copy: what the taker drops is closed.
        drop(taken);
        assert!(is_closed(lifeline));
    }

    #[test]
    fn a_taker_that_is_gone_before_it_reads_leaves_nobody_with_it() {
        let wanted = an_ask();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (handed, lock, lifeline) = engine();
        hand(&ours, handed, lock).unwrap();
        drop((ours, theirs));
        assert!(is_closed(lifeline));
        // And one that nobody answers, or that is refused, says so.
        let name = a_name();
        assert!(ask(&name, &wanted, Duration::from_millis(50)).is_err(), "nobody listens");
        let listener = listen(&name).unwrap();
        let error = ask(&name, &wanted, Duration::from_millis(50)).unwrap_err();
        assert!(format!("{error:#}").contains("no answer"), "{error:#}");
        let refuses = std::thread::spawn(move || {
            listener.accept().unwrap();
            let (stream, _) = listener.accept().unwrap();
            hear(&stream, Duration::from_secs(5)).unwrap();
            refuse(&stream, "not for you".into()).unwrap();
        });
        assert_eq!(ask(&name, &wanted, Duration::from_secs(5)).unwrap_err().to_string(), "not for you");
        refuses.join().unwrap();
    }
}
