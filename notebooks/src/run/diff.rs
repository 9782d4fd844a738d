//! Two texts side by side, as `diff -u` shows them.

/// What happened to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    /// Lines of the old and the new text that are the same.
    Same(usize, usize),
    /// A line of the old text.
    Removed(usize),
    /// A line of the new text.
    Added(usize),
}

/// Lines of what is the same, before and after each change.
const CONTEXT: usize = 2;
/// Above this many pairs of lines the middle is taken for wholly different, as an exact answer would take too long.
const MOST_PAIRS: usize = 4_000_000;

/// Shows an old line and the new one that replaces it; one of them may be missing.
pub type Pair<'a> = dyn Fn(Option<&str>, Option<&str>) -> (String, String) + 'a;

/// A unified diff without its two heading lines, and the number of the first old line that is not as it was. `same`
/// decides which lines are the same; `pair` shows two lines of which one replaces the other.
pub fn unified(
    old: &str,
    new: &str,
    same: &dyn Fn(&str, &str) -> bool,
    pair: &Pair<'_>,
) -> (usize, Vec<String>) {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let edits = edits(&old, &new, same);
    let changed: Vec<usize> = (0..edits.len()).filter(|at| !matches!(edits[*at], Edit::Same(..))).collect();
    let mut lines = Vec::new();
    let mut first = 0;
    let mut next = 0;
    while next < changed.len() {
        // Changes that are near each other make one hunk.
        let mut last = next;
        while last + 1 < changed.len() && changed[last + 1] - changed[last] <= 2 * CONTEXT + 1 {
            last += 1;
        }
        let from = changed[next].saturating_sub(CONTEXT);
        let to = (changed[last] + CONTEXT + 1).min(edits.len());
        if next == 0 {
            let before = edits[..changed[0]].iter().filter(|edit| !matches!(edit, Edit::Added(_))).count();
            first = before + 1;
        }
        lines.push(heading(&edits, from, to));
        hunk(&edits[from..to], &old, &new, pair, &mut lines);
        next = last + 1;
    }
    (first, lines)
}

/// `@@ -3,5 +3,6 @@`: first line and number of lines in the old and in the new text.
fn heading(edits: &[Edit], from: usize, to: usize) -> String {
    let count = |edits: &[Edit], old: bool| {
        let counts = |edit: &&Edit| match edit {
            Edit::Same(..) => true,
            Edit::Removed(_) => old,
            Edit::Added(_) => !old,
        };
        edits.iter().filter(counts).count()
    };
    let part = |old: bool| {
        let (before, within) = (count(&edits[..from], old), count(&edits[from..to], old));
        // As diff has it, nothing stands behind the line before it.
        format!("{},{within}", if within == 0 { before } else { before + 1 })
    };
    format!("@@ -{} +{} @@", part(true), part(false))
}

fn hunk(edits: &[Edit], old: &[&str], new: &[&str], pair: &Pair<'_>, lines: &mut Vec<String>) {
    let mut at = 0;
    while at < edits.len() {
        if let Edit::Same(_, line) = edits[at] {
            lines.push(format!(" {}", pair(None, Some(new[line])).1));
            at += 1;
            continue;
        }
        let block: Vec<Edit> =
            edits[at..].iter().copied().take_while(|edit| !matches!(edit, Edit::Same(..))).collect();
        let removed: Vec<&str> = block
            .iter()
            .filter_map(|e| if let Edit::Removed(l) = e { Some(old[*l]) } else { None })
            .collect();
        let added: Vec<&str> =
            block.iter().filter_map(|e| if let Edit::Added(l) = e { Some(new[*l]) } else { None }).collect();
        let pairs = |line: usize| pair(removed.get(line).copied(), added.get(line).copied());
        lines.extend((0..removed.len()).map(|line| format!("-{}", pairs(line).0)));
        lines.extend((0..added.len()).map(|line| format!("+{}", pairs(line).1)));
        at += block.len();
    }
}

fn edits(old: &[&str], new: &[&str], same: &dyn Fn(&str, &str) -> bool) -> Vec<Edit> {
    let head = old.iter().zip(new).take_while(|(a, b)| same(a, b)).count();
    let rest = old.len().min(new.len()) - head;
    let tail = (0..rest).take_while(|n| same(old[old.len() - 1 - n], new[new.len() - 1 - n])).count();
    let (middle_old, middle_new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut edits: Vec<Edit> = (0..head).map(|line| Edit::Same(line, line)).collect();
    for edit in middle(middle_old, middle_new, same) {
        edits.push(match edit {
            Edit::Same(a, b) => Edit::Same(a + head, b + head),
            Edit::Removed(a) => Edit::Removed(a + head),
            Edit::Added(b) => Edit::Added(b + head),
        });
    }
    edits.extend((0..tail).map(|n| Edit::Same(old.len() - tail + n, new.len() - tail + n)));
    edits
}

/// By the longest common subsequence.
fn middle(old: &[&str], new: &[&str], same: &dyn Fn(&str, &str) -> bool) -> Vec<Edit> {
    let (rows, columns) = (old.len(), new.len());
    if rows.saturating_mul(columns) > MOST_PAIRS {
        return (0..rows).map(Edit::Removed).chain((0..columns).map(Edit::Added)).collect();
    }
    // How many lines the rests from (row, column) on have in common.
    let mut common = vec![0_u32; (rows + 1) * (columns + 1)];
    let at = |row: usize, column: usize| row * (columns + 1) + column;
    let equal: Vec<bool> = old.iter().flat_map(|a| new.iter().map(|b| same(a, b))).collect();
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            common[at(row, column)] = match equal[row * columns + column] {
                true => common[at(row + 1, column + 1)] + 1,
                false => common[at(row + 1, column)].max(common[at(row, column + 1)]),
            };
        }
    }
    let (mut row, mut column, mut edits) = (0, 0, Vec::new());
    while row < rows || column < columns {
        if row < rows && column < columns && equal[row * columns + column] {
            edits.push(Edit::Same(row, column));
            (row, column) = (row + 1, column + 1);
        } else if column == columns
            || (row < rows && common[at(row + 1, column)] >= common[at(row, column + 1)])
        {
            edits.push(Edit::Removed(row));
            row += 1;
        } else {
            edits.push(Edit::Added(column));
            column += 1;
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(old: &str, new: &str) -> (usize, String) {
        let show = |line: Option<&str>| line.unwrap_or_default().to_owned();
        let (first, lines) = unified(old, new, &|a, b| a == b, &|a, b| (show(a), show(b)));
        (first, lines.join("\n"))
    }

    #[test]
    fn it_is_what_diff_prints() {
        // `diff -U2` of these texts.
        assert_eq!(diff("a\nb\nc", "a\nB\nc"), (2, "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c".into()));
        assert_eq!(diff("1\n2\n3\n4\n5", "1\n2\n3\n4\n5\n6"), (6, "@@ -4,2 +4,3 @@\n 4\n 5\n+6".into()));
        assert_eq!(
            diff("1\n2\n3\n4\n5\n6\n7\n8\n9", "x\n2\n3\n4\n5\n6\n7\n8\ny").1,
            "@@ -1,3 +1,3 @@\n-1\n+x\n 2\n 3\n@@ -7,3 +7,3 @@\n 7\n 8\n-9\n+y"
        );
        assert_eq!(diff("a\nb", "b").1, "@@ -1,2 +1,1 @@\n-a\n b");
        assert_eq!(diff("same", "same"), (0, String::new()));
    }

    #[test]
    fn applying_the_edits_gives_the_new_text() {
        let texts = ["", "a", "a\nb\na\nb", "b\na\nb\na\nc", "c\nc\nc", "a\nb\nc\nd\ne"];
        for old in texts {
            for new in texts {
                let (a, b): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
                let edits = edits(&a, &b, &|a, b| a == b);
                let rebuilt: Vec<&str> = edits
                    .iter()
                    .filter_map(|edit| match edit {
                        Edit::Same(_, line) | Edit::Added(line) => Some(b[*line]),
                        Edit::Removed(_) => None,
                    })
                    .collect();
                let original: Vec<&str> = edits
                    .iter()
                    .filter_map(|edit| match edit {
                        Edit::Same(line, _) | Edit::Removed(line) => Some(a[*line]),
                        Edit::Added(_) => None,
                    })
                    .collect();
                assert_eq!((original, rebuilt), (a, b));
            }
        }
    }

    #[test]
    fn texts_without_end_are_answered_at_once() {
        let many = |what: &str| (0..5000).map(|n| format!("{what}{n}\n")).collect::<String>();
        let (first, text) = diff(&many("a"), &many("b"));
        assert!(first == 1 && text.contains("-a4999") && text.contains("+b4999"));
    }
}
