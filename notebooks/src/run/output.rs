//! From kernel messages to the outputs of a cell.

use serde_json::{Map, Value, json};

use super::{
    bound::{Bound, LeftOut},
    message::Message,
    secrets::Secrets,
};

/// The outputs of one cell while its messages arrive.
#[derive(Debug)]
pub struct OutputArea {
    outputs: Vec<Output>,
    /// How many bytes all of them have.
    kept: usize,
    /// How many bytes of output are kept.
    limit: usize,
    /// How many bytes all cells of the notebook may have together, and how many the others have; none where it is alone.
    notebook: Option<(usize, usize)>,
    /// What came above that.
    left_out: Option<LeftOut>,
    /// `clear_output(wait=true)` came: the next output replaces what is here.
    clear_before_next: bool,
    /// The execution count as the kernel says it.
    pub execution_count: Option<i64>,
}

#[derive(Debug)]
struct Output {
    value: Value,
    display_id: Option<String>,
    /// Of its texts and images.
    bytes: usize,
}

impl Output {
    /// Whether it is a display of which nothing is left: a bar of the library that only showed how far something was.
    fn was_taken_back(&self) -> bool {
        let is_blank = |value: &Value| value.as_str().is_some_and(|text| text.trim().is_empty());
        let data = self.value["data"].as_object().filter(|_| self.display_id.is_some());
        data.is_some_and(|data| !data.is_empty() && data.values().all(is_blank))
    }
}

impl OutputArea {
    /// An area that keeps so many bytes. Errors are always kept.
    pub fn new(limit: usize) -> Self {
        Self {
            outputs: Vec::new(),
            kept: 0,
            limit,
            notebook: None,
            left_out: None,
            clear_before_next: false,
            execution_count: None,
        }
    }

    /// Tells it how many bytes all cells of the notebook may have together, and how many the others have now.
    pub fn share(&mut self, limit: usize, others: usize) {
        self.notebook = Some((limit, others));
    }

    /// How many bytes are kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// What there was above a limit, if anything.
    pub fn left_out(&self) -> Option<LeftOut> {
        self.left_out
    }

    /// How many bytes there may be, and which limit says so.
    fn most(&self) -> (usize, Bound) {
        let own = (self.limit, Bound::Cell(self.limit));
        let shared =
            self.notebook.map(|(limit, others)| (limit.saturating_sub(others), Bound::Notebook(limit)));
        shared.filter(|shared| shared.0 < own.0).unwrap_or(own)
    }

    /// How many bytes there is room for.
    fn room(&self) -> usize {
        self.most().0.saturating_sub(self.kept)
    }

    fn leave_out(&mut self, bytes: usize) {
        if bytes > 0 {
            let bound = self.most().1;
            self.left_out.get_or_insert(LeftOut { bytes: 0, bound }).bytes += bytes;
        }
    }

    /// Takes one iopub message that belongs to this cell. `update_display_data` is not meant for one cell:
    /// see [`OutputArea::update_display`].
    pub fn apply(&mut self, message: &Message) {
        let content = &message.content;
        if let Some(count) = content["execution_count"].as_i64() {
            self.execution_count = Some(count);
        }
        match message.kind.as_str() {
            "stream" => self.push_stream(
                content["name"].as_str().unwrap_or("stdout"),
                content["text"].as_str().unwrap_or_default(),
            ),
            "display_data" => self.push(
                json!({"output_type": "display_data", "data": object(&content["data"]), "metadata": object(&content["metadata"])}),
                display_id(content),
            ),
            "execute_result" => self.push(
                json!({"output_type": "execute_result", "execution_count": content["execution_count"].as_i64(),
                       "data": object(&content["data"]), "metadata": object(&content["metadata"])}),
                display_id(content),
            ),
            "error" => self.push_error(content),
            "clear_output" => match content["wait"].as_bool() {
                Some(true) => self.clear_before_next = true,
                _ => self.clear(),
            },
            _ => {}
        }
    }

    /// Shows new data wherever this display id stands.
    pub fn update_display(&mut self, display_id: &str, content: &Value) {
        let bytes = size(&content["data"]);
        let (mut room, mut left_out) = (self.room(), 0);
        for output in self.outputs.iter_mut().filter(|o| o.display_id.as_deref() == Some(display_id)) {
            if bytes > room + output.bytes {
                left_out += bytes;
                continue;
            }
            room = room + output.bytes - bytes;
            self.kept = self.kept - output.bytes + bytes;
            output.bytes = bytes;
            output.value["data"] = object(&content["data"]);
            output.value["metadata"] = object(&content["metadata"]);
        }
        self.leave_out(left_out);
    }

    /// Adds an error output from the fields `ename`, `evalue` and `traceback`.
    pub fn push_error(&mut self, content: &Value) {
        let text = |field: &str| content[field].as_str().unwrap_or_default().to_owned();
        let traceback: Vec<&str> =
            content["traceback"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let (ename, evalue) = (text("ename"), text("evalue"));
        let value = json!({"output_type": "error", "ename": ename, "evalue": evalue, "traceback": traceback});
        self.clear_if_due();
        self.outputs.push(Output { value, display_id: None, bytes: 0 });
    }

    fn push_stream(&mut self, name: &str, text: &str) {
        self.clear_if_due();
        let room = self.room().min(text.len());
        let end = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        self.leave_out(text.len() - end);
        let text = &text[..end];
        if text.is_empty() {
            return;
        }
        self.kept += text.len();
        if let Some(last) = self.outputs.last_mut().filter(|o| is_stream(&o.value, name))
            && let Value::String(so_far) = &mut last.value["text"]
        {
            last.bytes += text.len();
            return so_far.push_str(text);
        }
        let value = json!({"output_type": "stream", "name": name, "text": text});
        self.outputs.push(Output { value, display_id: None, bytes: text.len() });
    }

    fn push(&mut self, value: Value, display_id: Option<String>) {
        self.clear_if_due();
        let bytes = size(&value["data"]);
        if bytes > self.room() {
            self.leave_out(bytes);
            return;
        }
        self.kept += bytes;
        self.outputs.push(Output { value, display_id, bytes });
    }

    fn clear_if_due(&mut self) {
        if std::mem::take(&mut self.clear_before_next) {
            self.clear();
        }
    }

    /// Errors stay: what a thread of a cell clears after the cell failed must not make it look well.
    fn clear(&mut self) {
        self.outputs.retain(|output| output.value["output_type"] == "error");
        // Errors count for nothing.
        self.kept = 0;
        self.left_out = None;
        self.clear_before_next = false;
    }

    /// The error outputs.
    pub fn errors(&self) -> impl Iterator<Item = &Value> {
        self.outputs.iter().map(|o| &o.value).filter(|o| o["output_type"] == "error")
    }

    /// Removes the kernel's word that it was interrupted, for a cell that gets a better reason.
    pub fn forget_interrupt(&mut self) {
        let is_interrupt = |o: &Value| o["ename"] == "Interrupted" || o["ename"] == "KeyboardInterrupt";
        self.outputs.retain(|o| !is_interrupt(&o.value));
    }

    /// The displayed value of the cell, when it is an `Err(..)`.
    pub fn error_value(&self) -> Option<&str> {
        let results = self.outputs.iter().filter(|o| o.value["output_type"] == "execute_result");
        results
            .filter_map(|o| o.value["data"]["text/plain"].as_str())
            .find(|t| t.trim_start().starts_with("Err("))
    }

    /// The outputs for the document, without secrets. Two pipes have no common order, so neighbouring streams are saved
    /// stdout first: a rerun gives the same file.
    pub fn to_outputs(&self, secrets: &Secrets) -> Vec<Value> {
        let kept = self.outputs.iter().filter(|output| !output.was_taken_back());
        let mut outputs = merge_streams(kept.map(|o| &o.value));
        if !secrets.is_empty() {
            for name in ["stdout", "stderr"] {
                mask_stream(&mut outputs, name, secrets);
            }
            outputs.iter_mut().for_each(|output| secrets.mask_value(output));
            // The rest of a secret that began before.
            outputs.retain(|output| output["output_type"] != "stream" || output["text"] != "");
        }
        if let Some(LeftOut { bytes, bound }) = self.left_out {
            let text = format!("[igpt: {bytes} bytes of output are left out here: {bound}]\n");
            outputs.push(json!({"output_type": "stream", "name": "stderr", "text": text}));
        }
        outputs
    }
}

/// A secret may be printed in parts before and after something else.
fn mask_stream(outputs: &mut [Value], name: &str, secrets: &Secrets) {
    let of_stream = |output: &&mut Value| is_stream(output, name);
    let streams: Vec<&mut Value> = outputs.iter_mut().filter(of_stream).collect();
    let pieces: Vec<&str> =
        streams.iter().map(|output| output["text"].as_str().unwrap_or_default()).collect();
    let masked = secrets.mask_pieces(&pieces);
    for (output, text) in streams.into_iter().zip(masked) {
        output["text"] = text.into();
    }
}

/// The bytes of texts and images.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.iter().map(|(name, value)| name.len() + size(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// Joins neighbouring streams of the same name, stdout before stderr.
fn merge_streams<'a>(outputs: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    let mut streams: [(&str, String); 2] = [("stdout", String::new()), ("stderr", String::new())];
    fn flush(streams: &mut [(&str, String); 2], merged: &mut Vec<Value>) {
        for (name, text) in streams.iter_mut().filter(|(_, text)| !text.is_empty()) {
            merged.push(json!({"output_type": "stream", "name": *name, "text": std::mem::take(text)}));
        }
    }
    for output in outputs {
        match streams.iter_mut().find(|(name, _)| is_stream(output, name)) {
            Some((_, text)) => text.push_str(output["text"].as_str().unwrap_or_default()),
            None => {
                flush(&mut streams, &mut merged);
                merged.push(output.clone());
            }
        }
    }
    flush(&mut streams, &mut merged);
    merged
}

fn is_stream(output: &Value, name: &str) -> bool {
    output["output_type"] == "stream" && output["name"] == name
}

fn display_id(content: &Value) -> Option<String> {
    content["transient"]["display_id"].as_str().map(str::to_owned)
}

fn object(value: &Value) -> Value {
    value.as_object().map_or_else(|| Value::Object(Map::new()), |map| Value::Object(map.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, content: Value) -> Message {
        Message { kind: kind.into(), parent: None, content }
    }

    fn stream(name: &str, text: &str) -> Message {
        message("stream", json!({"name": name, "text": text}))
    }

    fn display(id: &str, text: &str) -> Message {
        message(
            "display_data",
            json!({"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": id}}),
        )
    }

    #[test]
    fn neighbouring_streams_become_one() {
        let mut area = OutputArea::new(usize::MAX);
        for m in
            [stream("stdout", "a"), stream("stdout", "b\n"), stream("stderr", "e"), stream("stdout", "c")]
        {
            area.apply(&m);
        }
        let texts: Vec<_> = area.to_outputs(&Secrets::default()).iter().map(|o| o["text"].clone()).collect();
        assert_eq!(texts, ["ab\nc", "e"]);
    }

    #[test]
    fn clear_waits_for_the_next_output() {
        let mut area = OutputArea::new(usize::MAX);
        area.apply(&stream("stdout", "1"));
        area.apply(&message("clear_output", json!({"wait": true})));
        assert_eq!(area.to_outputs(&Secrets::default()).len(), 1);
        area.apply(&stream("stdout", "2"));
        assert_eq!(
            area.to_outputs(&Secrets::default()),
            [json!({"output_type": "stream", "name": "stdout", "text": "2"})]
        );
        area.apply(&message("clear_output", json!({"wait": false})));
        assert!(area.to_outputs(&Secrets::default()).is_empty());
    }

    #[test]
    fn an_update_reaches_every_output_of_that_display_and_no_other() {
        let mut area = OutputArea::new(usize::MAX);
        for m in [display("a", "1"), display("b", "1"), display("a", "1")] {
            area.apply(&m);
        }
        area.update_display("a", &json!({"data": {"text/plain": "2"}}));
        let shown: Vec<_> =
            area.to_outputs(&Secrets::default()).iter().map(|o| o["data"]["text/plain"].clone()).collect();
        assert_eq!(shown, ["2", "1", "2"]);
    }

    #[test]
    fn incomplete_messages_still_make_a_valid_document() {
        let mut area = OutputArea::new(usize::MAX);
        area.apply(&message("error", json!({"evalue": 7})));
        area.apply(&message("execute_result", json!({})));
        area.apply(&message("display_data", json!(null)));
        assert_eq!(
            area.to_outputs(&Secrets::default()),
            [
                json!({"output_type": "error", "ename": "", "evalue": "", "traceback": []}),
                json!({"output_type": "execute_result", "execution_count": null, "data": {}, "metadata": {}}),
                json!({"output_type": "display_data", "data": {}, "metadata": {}}),
            ]
        );
    }

    #[test]
    fn what_is_above_the_limit_is_left_out_and_said() {
        let mut area = OutputArea::new(10);
        area.apply(&stream("stdout", "12345"));
        area.apply(&stream("stderr", "678ää"));
        area.apply(&message("display_data", json!({"data": {"text/plain": "x"}})));
        area.apply(&message("error", json!({"ename": "panic", "evalue": "a long story"})));
        let bytes = 2 + "text/plainx".len();
        assert_eq!(area.left_out(), Some(LeftOut { bytes, bound: Bound::Cell(10) }));
        let outputs = area.to_outputs(&Secrets::default());
        assert_eq!((&outputs[0]["text"], &outputs[1]["text"]), (&json!("12345"), &json!("678ä")));
        assert_eq!((&outputs[2]["ename"], outputs.len()), (&json!("panic"), 4));
        assert!(outputs[3]["text"].as_str().unwrap().contains("13 bytes of output are left out"));
        // What was cleared makes room.
        area.apply(&message("clear_output", json!({"wait": false})));
        area.apply(&stream("stdout", "1234567890"));
        assert_eq!(
            (area.left_out(), &area.to_outputs(&Secrets::default())[1]["text"]),
            (None, &json!("1234567890"))
        );
    }

    #[test]
    fn updates_keep_within_the_limit() {
        let mut area = OutputArea::new(20);
        let display = |text: &str| json!({"data": {"text/plain": text}, "transient": {"display_id": "d"}});
        area.apply(&message("display_data", display("1234567890")));
        area.update_display("d", &display("12345678901"));
        assert_eq!(
            (area.left_out(), &area.to_outputs(&Secrets::default())[0]["data"]["text/plain"]),
            (Some(LeftOut { bytes: 21, bound: Bound::Cell(20) }), &json!("1234567890"))
        );
        area.update_display("d", &display("abcdefghij"));
        assert_eq!(area.to_outputs(&Secrets::default())[0]["data"]["text/plain"], "abcdefghij");
    }

    #[test]
    fn a_secret_is_blanked_though_something_is_shown_in_its_middle() {
        let secrets = Secrets::of(["hf_0123456789"].into_iter());
        let mut area = OutputArea::new(usize::MAX);
        area.apply(&stream("stdout", "a hf_01"));
        area.apply(&stream("stdout", "23"));
        area.apply(&message("display_data", json!({"data": {"text/html": ["<b>hf_0123", "456789</b>"]}})));
        area.apply(&stream("stdout", "456789 b"));
        area.apply(&message(
            "error",
            json!({"ename": "panic", "evalue": "hf_0123456789", "traceback": ["x hf_0123456789"]}),
        ));
        let text = json!(area.to_outputs(&secrets)).to_string();
        assert!(
            !text.contains("0123") && !text.contains("6789") && text.contains("a ***") && text.contains(" b"),
            "{text}"
        );
    }

    #[test]
    fn a_display_that_was_taken_back_is_no_output() {
        let mut area = OutputArea::new(1000);
        let outputs = |area: &OutputArea| area.to_outputs(&Secrets::from_environment(&[]).unwrap()).len();
        area.apply(&display("bar", "features: 3 of 10"));
        area.apply(&stream("stdout", "done"));
        assert_eq!(outputs(&area), 2);
        area.update_display("bar", &json!({"data": {"text/plain": "", "text/html": "\n"}}));
        assert_eq!(outputs(&area), 1);
        // The good twin: a value that is empty is a value.
        area.apply(&message("execute_result", json!({"data": {"text/plain": ""}, "metadata": {}})));
        assert_eq!(outputs(&area), 2);
    }
}
