//! Small helpers for text that users read.

/// The text without terminal escapes.
pub fn strip_ansi(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            // CSI: parameters, then one final letter.
            Some('[') => while chars.next_if(|c| !('\x40'..='\x7e').contains(c)).is_some() {},
            // OSC, for example a hyperlink: up to BEL or ESC \.
            Some(']') => while chars.next_if(|c| !matches!(c, '\x07' | '\x1b')).is_some() {},
            _ => continue,
        }
        if chars.next() == Some('\x1b') {
            chars.next_if_eq(&'\\');
        }
    }
    plain
}

/// At most `width` characters of the first non-blank line.
pub fn headline(text: &str, width: usize) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
    shorten(line, width)
}

/// The line of a text that has one line with something in it, without anything that moves a cursor.
pub fn only_line(text: &str) -> Option<String> {
    let text = strip_ansi(text);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line: String = lines.next()?.chars().filter(|c| !c.is_control()).collect();
    lines.next().is_none().then_some(line)
}

/// At most `width` characters, with an ellipsis where something was cut.
pub fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Text made safe for HTML and XML; characters that XML forbids are left out.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' | '\r' => escaped.push(c),
            c if c < ' ' || c == '\u{fffe}' || c == '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// "1 cell", "3 cells".
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_terminals_are_removed() {
        assert_eq!(strip_ansi("\x1b[1;31merror\x1b[0m: x"), "error: x");
        assert_eq!(strip_ansi("\x1b]8;;http://a\x1b\\link\x1b]8;;\x07 b\x1b"), "link b");
        assert_eq!(strip_ansi("plain ä"), "plain ä");
    }

    #[test]
    fn a_line_is_one_and_no_more() {
        assert_eq!(only_line("\n \x1b[1mbar: 10 %\x1b[0m\x07\n").unwrap(), "bar: 10 %");
        assert_eq!((only_line("a\nb"), only_line(" \n")), (None, None));
    }

    #[test]
    fn xml_keeps_no_control_characters() {
        assert_eq!(escape("<a & \"b\">\u{1b}\u{0}\n"), "&lt;a &amp; &quot;b&quot;&gt;\n");
    }
}
