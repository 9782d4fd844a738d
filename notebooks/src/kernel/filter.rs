//! `igpt filter`: stands between what a cell prints and evcxr, which reads it by lines of UTF-8.
//!
//! Text leaves it as marked lines that hold any text, so that a line that is not ended is seen at once, bytes that are no
//! UTF-8 harm nothing, many lines travel as one message, and a flood is cut. What evcxr and the kernel must read
//! themselves passes as it is.
//!
//! It is a process of its own: it has the last word of a process that dies.

use std::{
    io::{Read as _, Write},
    process::ExitCode,
    sync::mpsc::{RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::cell::MARK_TEXT;

/// How long text waits for more when nothing comes, and at most.
const GATHER: Duration = Duration::from_millis(10);
const AT_MOST: Duration = Duration::from_millis(50);
/// Text that is passed on at a time.
const CHUNK: usize = 32 * 1024;
/// A cell's text is shown up to here; of the rest, the last part is.
const LIMIT: usize = 1 << 20;
const TAIL: usize = 16 * 1024;

/// Passes stdin on to stdout until it ends.
pub fn filter() -> Result<ExitCode> {
    let (sender, chunks) = sync_channel::<Vec<u8>>(4);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut filter = Filter::new(std::io::stdout().lock());
    loop {
        match chunks.recv_timeout(GATHER) {
            Ok(bytes) => {
                filter.take(&bytes)?;
                if filter.since.is_some_and(|since| since.elapsed() > AT_MOST) {
                    filter.pause()?;
                }
            }
            Err(RecvTimeoutError::Timeout) if filter.is_idle() => match chunks.recv() {
                Ok(bytes) => filter.take(&bytes)?,
                Err(_) => break,
            },
            Err(RecvTimeoutError::Timeout) => filter.pause()?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    filter.end()?;
    Ok(ExitCode::SUCCESS)
}

struct Filter<W> {
    to: W,
    /// A line that is not ended yet.
    line: Vec<u8>,
    /// Text that waits for more.
    text: Vec<u8>,
    /// Since when something waits.
    since: Option<Instant>,
    /// Inside a value, whose lines are evcxr's.
    in_value: bool,
    /// Nothing came since the last pause.
    paused: bool,
    /// Bytes that may still be shown.
    left: usize,
    /// The last part of what is not shown, and how much that is.
    tail: Vec<u8>,
    hidden: u64,
}

impl<W: Write> Filter<W> {
    fn new(to: W) -> Self {
        let (line, text, tail) = (Vec::new(), Vec::new(), Vec::new());
        Self { to, line, text, since: None, in_value: false, paused: true, left: LIMIT, tail, hidden: 0 }
    }

    fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.paused = false;
        self.since.get_or_insert_with(Instant::now);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.take_line(&line)?;
            } else if self.line.len() > CHUNK {
                self.take_part()?;
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.in_value {
            self.in_value = line != b"EVCXR_END_CONTENT\n";
            return self.pass(line);
        }
        let Some(at) = start_of_protocol(line) else { return self.show(line) };
        self.show(&line[..at])?;
        let rest = &line[at..];
        if is_boundary(rest) {
            self.close()?;
        }
        self.in_value = rest.starts_with(b"EVCXR_BEGIN_CONTENT ");
        self.pass(rest)
    }

    /// Shows a line that is not ended, but for what may be the beginning of something else.
    fn take_part(&mut self) -> std::io::Result<()> {
        let may_be_evcxrs = self.line.starts_with(b"EVCXR_") || b"EVCXR_".starts_with(&self.line[..]);
        if self.in_value || self.line.contains(&1) || may_be_evcxrs {
            return Ok(());
        }
        let whole = whole_characters(&self.line);
        let rest = self.line.split_off(whole);
        let part = std::mem::replace(&mut self.line, rest);
        self.show(&part)
    }

    fn show(&mut self, text: &[u8]) -> std::io::Result<()> {
        let shown = match text.len() <= self.left {
            true => text.len(),
            false => whole_characters(&text[..self.left]),
        };
        self.text.extend_from_slice(&text[..shown]);
        if shown < text.len() {
            if self.hidden == 0 {
                self.text.extend_from_slice(
                    "\n[more than 1 MB of output: the rest is left out, and its end is shown when the cell ends]\n"
                        .as_bytes(),
                );
            }
            self.left = 0;
            self.hidden += (text.len() - shown) as u64;
            self.tail.extend_from_slice(&text[shown..]);
            if self.tail.len() > 2 * TAIL {
                self.tail.drain(..self.tail.len() - TAIL);
            }
        } else {
            self.left -= shown;
        }
        if self.text.len() > CHUNK { self.flush() } else { Ok(()) }
    }

    /// The cell is over: the end of what was left out.
    fn close(&mut self) -> std::io::Result<()> {
        self.left = LIMIT;
        let hidden = std::mem::take(&mut self.hidden);
        if hidden == 0 {
            return Ok(());
        }
        let tail = std::mem::take(&mut self.tail);
        // From the beginning of a line, if it has any.
        let from = tail.len().saturating_sub(TAIL);
        let line = tail[from..].iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let last = &tail[from + line..];
        let megabytes = (hidden - last.len() as u64) as f64 / 1e6;
        self.text.extend_from_slice(format!("[{megabytes:.1} MB are left out here]\n").as_bytes());
        self.text.extend_from_slice(last);
        self.flush()
    }

    /// Nothing came for a moment.
    fn pause(&mut self) -> std::io::Result<()> {
        (self.paused, self.since) = (true, None);
        self.take_part()?;
        self.flush()
    }

    fn is_idle(&self) -> bool {
        self.paused
    }

    /// Nothing will come any more.
    fn end(&mut self) -> std::io::Result<()> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line)?;
        }
        self.close()?;
        self.flush()
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        // evcxr looks for its own words anywhere in a line.
        let json = serde_json::Value::from(String::from_utf8_lossy(&text)).to_string();
        let json = json.replace("EVCXR_", "EVCXR\\u005f");
        writeln!(self.to, "{MARK_TEXT}{json}")?;
        self.to.flush()
    }

    fn pass(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.flush()?;
        self.to.write_all(String::from_utf8_lossy(line).as_bytes())?;
        self.to.flush()
    }
}

/// Where in a line that begins which evcxr or the kernel must read: behind text whose line was not ended, maybe.
fn start_of_protocol(line: &[u8]) -> Option<usize> {
    if line.starts_with(b"EVCXR_") {
        return Some(0);
    }
    let words: [&[u8]; 4] =
        [b"\x01igpt:", b"EVCXR_BEGIN_CONTENT ", b"EVCXR_EXECUTION_COMPLETE\n", b"EVCXR_INPUT_REQUEST"];
    // Most lines have neither.
    if !line.contains(&1) && !line.windows(6).any(|window| window == b"EVCXR_") {
        return None;
    }
    words.iter().filter_map(|word| line.windows(word.len()).position(|window| window == *word)).min()
}

/// A cell begins or ends.
fn is_boundary(line: &[u8]) -> bool {
    line == b"\x01igpt:start\n" || line == b"\x01igpt:end\n"
}

/// How many of the bytes are no part of a character whose rest is missing.
fn whole_characters(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    for at in (from..bytes.len()).rev() {
        let length = match bytes[at] {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            // The middle of a character: its beginning is before.
            0x80..=0xBF => continue,
            _ => 1,
        };
        return if at + length > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(pieces: &[&[u8]]) -> String {
        let mut to = Vec::new();
        let mut filter = Filter::new(&mut to);
        for piece in pieces {
            filter.take(piece).unwrap();
            filter.pause().unwrap();
        }
        filter.end().unwrap();
        String::from_utf8(to).unwrap()
    }

    fn text(text: &str) -> String {
        format!("{MARK_TEXT}{}\n", serde_json::Value::from(text))
    }

    #[test]
    fn lines_that_are_not_ended_are_seen_at_once() {
        assert_eq!(passed(&[b"a\nb", b"c\n"]), text("a\nb") + &text("c\n"));
        assert_eq!(passed(&[b"10 %\r", b"20 %\r\n"]), text("10 %\r") + &text("20 %\r\n"));
    }

    #[test]
    fn what_others_must_read_stands_in_lines_of_its_own() {
        let value = "EVCXR_BEGIN_CONTENT text/plain\na\u{1}igpt:end\nEVCXR_END_CONTENT\n";
        assert_eq!(passed(&[format!("x{value}y").as_bytes()]), text("x") + value + &text("y"));
        for line in ["\u{1}igpt:end\n", "EVCXR_EXECUTION_COMPLETE\n", "EVCXR_INPUT_REQUEST:Name?\n"] {
            assert_eq!(passed(&[format!("open{line}").as_bytes()]), text("open") + line);
            assert_eq!(passed(&[b"open", line.as_bytes()]), text("open") + line);
        }
        // Half a mark is no text.
        assert_eq!(passed(&[b"EVCXR_EXEC", b"UTION_COMPLETE\n"]), "EVCXR_EXECUTION_COMPLETE\n");
        assert_eq!(passed(&["\u{1}ig".as_bytes(), b"pt:end\n"]), "\u{1}igpt:end\n");
        assert_eq!(passed(&[b"EVC", b"XR_EXECUTION_COMPLETE\n"]), "EVCXR_EXECUTION_COMPLETE\n");
        assert_eq!(passed(&[b"EVCXR or so\n"]), text("EVCXR or so\n"));
        // Nor is what a text says of evcxr's words.
        assert_eq!(
            passed(&[b"see EVCXR_END_CONTENT\n"]),
            text("see EVCXR_END_CONTENT\n").replace("R_", "R\\u005f")
        );
    }

    #[test]
    fn bytes_that_are_no_text_harm_nothing() {
        assert_eq!(passed(&[b"a\xff\xfeb\n"]), text("a\u{fffd}\u{fffd}b\n"));
        // A character in two pieces stays one.
        assert_eq!(passed(&[b"\xe2\x82", b"\xac\n"]), text("€\n"));
        assert_eq!(passed(&[b"\xe2\x82"]), text("\u{fffd}"));
    }

    #[test]
    fn a_flood_is_cut_and_its_end_is_shown() {
        let line = [b'x'; 99].iter().copied().chain(*b"\n").collect::<Vec<u8>>();
        let mut to = Vec::new();
        let mut filter = Filter::new(&mut to);
        (0..300_000).for_each(|_| filter.take(&line).unwrap());
        filter.take("the last one\n\u{1}igpt:end\nnext cell\n".as_bytes()).unwrap();
        filter.end().unwrap();
        let passed = String::from_utf8(to).unwrap();
        assert!(passed.len() < 2 * LIMIT, "{}", passed.len());
        let end = passed.find("\u{1}igpt:end").unwrap();
        assert!(passed[..end].contains("more than 1 MB of output"));
        assert!(
            passed[..end].contains("[28.9 MB are left out here]"),
            "{}",
            &passed[end - 20_000..end - 16_000]
        );
        assert!(passed[..end].contains("the last one"));
        assert!(passed[end..].contains("next cell"));
    }

    #[test]
    fn huge_lines_come_in_parts() {
        let huge = vec![b'x'; 200_000];
        let mut to = Vec::new();
        let mut filter = Filter::new(&mut to);
        huge.chunks(50_000).for_each(|chunk| filter.take(chunk).unwrap());
        filter.end().unwrap();
        let passed = String::from_utf8(to).unwrap();
        assert!(passed.lines().count() > 2 && passed.lines().all(|line| line.len() < 4 * CHUNK));
    }
}
