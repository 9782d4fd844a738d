//! Light colouring of Rust code.

use crate::run::text::escape;

const KEYWORDS: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern", "false",
    "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return",
    "self", "Self", "static", "struct", "super", "trait", "true", "type", "union", "unsafe", "use", "where",
    "while",
];

/// The code with spans of the classes k (keyword), s (string), c (comment), n (number), t (type), m (macro).
pub fn highlight(code: &str) -> String {
    let mut html = String::with_capacity(code.len() * 2);
    let mut rest = code;
    let mut line_start = true;
    while !rest.is_empty() {
        let (class, length) = token(rest, line_start);
        let (text, after) = rest.split_at(length);
        line_start = text.ends_with('\n') || line_start && text.trim().is_empty();
        match class {
            Some(class) => html.push_str(&format!("<span class=\"{class}\">{}</span>", escape(text))),
            None => html.push_str(&escape(text)),
        }
        rest = after;
    }
    html
}

/// The class and the length in bytes of the token that `code` starts with; never 0.
fn token(code: &str, line_start: bool) -> (Option<&'static str>, usize) {
    let first = code.chars().next().unwrap_or(' ');
    let to_line_end = || code.find('\n').unwrap_or(code.len());
    if code.starts_with("//") {
        return (Some("c"), to_line_end());
    }
    if code.starts_with("/*") {
        return (Some("c"), block_comment(code));
    }
    // Commands to evcxr, for example `:dep`.
    if line_start && first == ':' && !code.starts_with("::") {
        return (Some("m"), to_line_end());
    }
    if let Some(length) = string(code) {
        return (Some("s"), length);
    }
    if first == '\'' {
        return character(code);
    }
    if first.is_ascii_digit() {
        return (Some("n"), number(code));
    }
    if first.is_alphabetic() || first == '_' {
        let length = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
        let (word, after) = code.split_at(length);
        let class = match word {
            _ if KEYWORDS.contains(&word) => Some("k"),
            _ if after.starts_with('!') && !after.starts_with("!=") => Some("m"),
            _ if first.is_uppercase() => Some("t"),
            _ => None,
        };
        return (class, length);
    }
    (None, first.len_utf8())
}

fn block_comment(code: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(step) = code[at..].find(['/', '*']) {
        at += step;
        let two = code.get(at..at + 2);
        match two {
            Some("/*") => depth += 1,
            Some("*/") => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// A string of any kind: plain, byte, C, raw.
fn string(code: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|p| {
        let after = code.strip_prefix(p).unwrap_or("");
        after.starts_with('"') || p.ends_with('r') && after.trim_start_matches('#').starts_with('"')
    })?;
    let after = &code[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let start = prefix.len() + hashes + 1;
        return Some(code[start..].find(&end).map_or(code.len(), |at| start + at + end.len()));
    }
    let mut escaped = false;
    for (at, c) in after.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(prefix.len() + at + 1),
            _ => {}
        }
    }
    Some(code.len())
}

/// `'x'` and `'\n'` are characters, `'a` is a lifetime.
fn character(code: &str) -> (Option<&'static str>, usize) {
    let mut chars = code.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let start = at + escaped.len_utf8();
            let close = code[start..].find('\'').filter(|length| *length <= 10);
            close.map_or((None, 1), |length| (Some("s"), start + length + 1))
        }
        (Some(_), Some((at, '\''))) => (Some("s"), at + 1),
        _ => (None, 1),
    }
}

fn number(code: &str) -> usize {
    let mut end = 0;
    let chars = code.char_indices();
    for (at, c) in chars {
        let exponent_sign =
            || matches!(code[..at].chars().last(), Some('e' | 'E')) && !code.starts_with("0x");
        let fraction = || c == '.' && code[at + 1..].starts_with(|c: char| c.is_ascii_digit());
        if !(c.is_alphanumeric() || c == '_' || fraction() || matches!(c, '+' | '-') && exponent_sign()) {
            break;
        }
        end = at + c.len_utf8();
    }
    end.max(1)
}

#[cfg(test)]
mod tests {
    use super::highlight;
    use crate::run::text::strip_ansi;

    fn plain(html: &str) -> String {
        let mut text = String::new();
        let mut inside = false;
        for c in html.chars() {
            match c {
                '<' => inside = true,
                '>' => inside = false,
                c if !inside => text.push(c),
                _ => {}
            }
        }
        let text =
            text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
        strip_ansi(&text.replace("&amp;", "&"))
    }

    #[test]
    fn tokens_get_their_class() {
        let html = highlight("let x: Vec<u8> = vec![1_000, 0.5e-3]; // \"no\"");
        for part in [
            "<span class=\"k\">let</span>",
            "<span class=\"t\">Vec</span>",
            "<span class=\"m\">vec</span>!",
            "<span class=\"n\">1_000</span>",
            "<span class=\"n\">0.5e-3</span>",
            "<span class=\"c\">// &quot;no&quot;</span>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(highlight("&'a str, 'x', '\\n'").contains("&#39;a str"));
        assert!(highlight(":dep igpt\nx").starts_with("<span class=\"m\">:dep igpt</span>"));
        assert!(highlight("0..3").contains("<span class=\"n\">0</span>.."));
    }

    #[test]
    fn no_character_is_lost_whatever_the_code_is() {
        let wild = [
            "r#\"a\"b\"# r\"x",
            "'\\u{1F600}' 'ä' '",
            "/* a /* b */ c",
            "\"unclosed \\\"",
            "1.max(2) 1e 0xE+1 ::<T>",
            "b'x' br#\"",
            "é\u{301}ß ∑",
        ];
        for code in wild {
            assert_eq!(plain(&highlight(code)), code);
        }
    }
}
