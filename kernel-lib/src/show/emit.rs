//! The only place that prints what is shown, in evcxr's format.

use super::Show;
use std::io::Write;

/// Shows `value` as the value of the running cell.
pub(crate) fn emit(value: &dyn Show) {
    write(&message(&[("text/html", value.to_html()), ("text/plain", value.to_text())]));
}

/// Shows plain text as the value of the running cell.
pub(super) fn emit_text(text: &str) {
    write(&message(&[("text/plain", text.to_owned())]));
}

/// Whether evcxr runs this process.
pub(super) fn is_under_evcxr() -> bool {
    std::env::var_os("EVCXR_IS_RUNTIME").is_some()
}

/// Shows what can be updated in a place where nothing can be: under plain evcxr as the value of the cell, of which the last
/// one stays, and else as text.
pub(super) fn emit_elsewhere(html: &str, text: &str) {
    if is_under_evcxr() {
        write(&message(&[("text/html", html.to_owned()), ("text/plain", text.to_owned())]));
    } else {
        write(text);
    }
}

fn write(block: &str) {
    // One write under one lock: a thread that prints meanwhile cannot break the block. If stdout is gone, nobody is
    // left to tell.
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(block.as_bytes()).and_then(|()| stdout.flush());
}

/// The values of one output, one for each MIME type.
fn message(values: &[(&str, String)]) -> String {
    let mut block = String::new();
    for (mime, content) in values {
        block.push_str("EVCXR_BEGIN_CONTENT ");
        block.push_str(mime);
        block.push('\n');
        for line in content.lines() {
            // A shown text that speaks evcxr's language must not end its own block.
            if line.starts_with("EVCXR_") {
                block.push(' ');
            }
            block.push_str(line);
            block.push('\n');
        }
        block.push_str("EVCXR_END_CONTENT\n");
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_framed_as_evcxr_expects() {
        let block = message(&[("text/html", "<p>a</p>\n".into()), ("text/plain", "a".into())]);
        assert_eq!(
            block,
            "EVCXR_BEGIN_CONTENT text/html\n<p>a</p>\nEVCXR_END_CONTENT\n\
             EVCXR_BEGIN_CONTENT text/plain\na\nEVCXR_END_CONTENT\n"
        );
    }

    #[test]
    fn a_shown_text_cannot_end_its_block() {
        let block = message(&[("text/plain", "EVCXR_END_CONTENT\nb".into())]);
        assert_eq!(block, "EVCXR_BEGIN_CONTENT text/plain\n EVCXR_END_CONTENT\nb\nEVCXR_END_CONTENT\n");
    }
}
