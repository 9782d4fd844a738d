//! The outputs of all cells of a notebook while their messages arrive. Together they have a limit, beside the one of each
//! cell.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{message::Message, output::OutputArea};

/// The outputs by position of the cell.
#[derive(Debug)]
pub struct OutputAreas {
    areas: BTreeMap<usize, OutputArea>,
    /// How many bytes of all of them are kept.
    limit: usize,
}

impl OutputAreas {
    /// No outputs yet. So many bytes of all cells together are kept, and errors always are.
    pub fn new(limit: usize) -> Self {
        Self { areas: BTreeMap::new(), limit }
    }

    /// A cell begins, of which no more than so many bytes are kept.
    pub fn begin(&mut self, position: usize, limit: usize) {
        self.areas.insert(position, OutputArea::new(limit));
    }

    /// The outputs of a cell, if it has begun.
    pub fn get(&self, position: usize) -> Option<&OutputArea> {
        self.areas.get(&position)
    }

    /// The outputs of a cell, to add an error or to count it.
    pub fn of(&mut self, position: usize) -> &mut OutputArea {
        self.areas.entry(position).or_insert_with(|| OutputArea::new(self.limit))
    }

    /// Takes one iopub message that belongs to a cell, be it an earlier one; of a cell that has not begun it takes none.
    pub fn apply(&mut self, position: usize, message: &Message) {
        let kept = self.kept();
        if let Some(area) = self.areas.get_mut(&position) {
            area.share(self.limit, kept - area.kept());
            area.apply(message);
        }
    }

    /// Shows new data wherever this display id stands, in any cell.
    pub fn update_display(&mut self, display_id: &str, content: &Value) {
        let mut kept = self.kept();
        for area in self.areas.values_mut() {
            let others = kept - area.kept();
            area.share(self.limit, others);
            area.update_display(display_id, content);
            kept = others + area.kept();
        }
    }

    /// All of them with their positions, in the order of the cells.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &OutputArea)> {
        self.areas.iter().map(|(position, area)| (*position, area))
    }

    /// How many bytes all of them have.
    fn kept(&self) -> usize {
        self.areas.values().map(OutputArea::kept).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{
        bound::{Bound, LeftOut},
        secrets::Secrets,
    };
    use serde_json::json;

    fn print(areas: &mut OutputAreas, position: usize, text: &str) {
        let content = json!({"name": "stdout", "text": text});
        areas.apply(position, &Message { kind: "stream".into(), parent: None, content });
    }

    fn display(areas: &mut OutputAreas, position: usize, text: &str) {
        let content = json!({"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": "d"}});
        areas.apply(position, &Message { kind: "display_data".into(), parent: None, content });
    }

    fn outputs(areas: &OutputAreas, position: usize) -> Vec<Value> {
        areas.get(position).unwrap().to_outputs(&Secrets::default())
    }

    fn left_out(areas: &OutputAreas, position: usize) -> Option<LeftOut> {
        areas.get(position).unwrap().left_out()
    }

    #[test]
    fn cells_share_the_limit_of_their_notebook() {
        let of_notebook = |bytes: usize| Some(LeftOut { bytes, bound: Bound::Notebook(10) });
        let mut areas = OutputAreas::new(10);
        areas.begin(0, 100);
        print(&mut areas, 0, "1234567");
        assert_eq!(left_out(&areas, 0), None);
        areas.begin(2, 100);
        print(&mut areas, 2, "abcde");
        assert_eq!((&outputs(&areas, 2)[0]["text"], left_out(&areas, 2)), (&json!("abc"), of_notebook(2)));
        let said = outputs(&areas, 2)[1]["text"].to_string();
        assert!(
            said.contains("2 bytes of output are left out here: all cells together may have 10"),
            "{said}"
        );
        // What comes late for an earlier cell counts, too; of an error all is kept.
        print(&mut areas, 0, "8");
        areas.of(0).push_error(&json!({"ename": "panic", "evalue": "a long story", "traceback": []}));
        assert_eq!((left_out(&areas, 0), outputs(&areas, 0).len()), (of_notebook(1), 3));
        // What one cell takes back makes room for another one.
        let clear = Message { kind: "clear_output".into(), parent: None, content: json!({"wait": false}) };
        areas.apply(0, &clear);
        print(&mut areas, 2, "fghijklm");
        assert_eq!(outputs(&areas, 2)[0]["text"], "abcfghijkl");
        assert_eq!((left_out(&areas, 0), left_out(&areas, 2)), (None, of_notebook(3)));
        print(&mut areas, 5, "of a cell that has not begun");
        assert_eq!(areas.iter().map(|(position, _)| position).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn the_limit_that_is_nearer_is_named() {
        let mut areas = OutputAreas::new(10);
        areas.begin(0, 3);
        print(&mut areas, 0, "12345");
        assert_eq!(left_out(&areas, 0), Some(LeftOut { bytes: 2, bound: Bound::Cell(3) }));
        // Of ten bytes seven are left.
        areas.begin(1, 7);
        print(&mut areas, 1, "12345678");
        assert_eq!(left_out(&areas, 1), Some(LeftOut { bytes: 1, bound: Bound::Cell(7) }));
    }

    #[test]
    fn updates_keep_within_the_limit_of_all_cells() {
        // "text/plain" and a letter, twice, and two bytes more.
        let mut areas = OutputAreas::new(24);
        for position in [0, 1] {
            areas.begin(position, 100);
            display(&mut areas, position, "a");
        }
        let update = |areas: &mut OutputAreas, text: &str| {
            areas.update_display("d", &json!({"data": {"text/plain": text}, "metadata": {}}));
            [0, 1].map(|position| outputs(areas, position)[0]["data"]["text/plain"].clone())
        };
        assert_eq!(update(&mut areas, "ab"), ["ab", "ab"]);
        assert_eq!(update(&mut areas, "abc"), ["ab", "ab"]);
        let of_notebook = Some(LeftOut { bytes: 13, bound: Bound::Notebook(24) });
        assert_eq!([left_out(&areas, 0), left_out(&areas, 1)], [of_notebook, of_notebook]);
        assert_eq!(update(&mut areas, "a"), ["a", "a"]);
    }
}
