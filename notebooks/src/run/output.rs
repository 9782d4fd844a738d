//! From kernel messages to the outputs of a cell.

use serde_json::{Map, Value, json};

use super::message::Message;

/// The outputs of one cell while its messages arrive.
#[derive(Debug, Default)]
pub struct OutputArea {
    outputs: Vec<Output>,
    /// `clear_output(wait=true)` came: the next output replaces what is here.
    clear_before_next: bool,
    /// The execution count as the kernel says it.
    pub execution_count: Option<i64>,
}

#[derive(Debug)]
struct Output {
    value: Value,
    display_id: Option<String>,
}

impl OutputArea {
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
        for output in self.outputs.iter_mut().filter(|o| o.display_id.as_deref() == Some(display_id)) {
            output.value["data"] = object(&content["data"]);
            output.value["metadata"] = object(&content["metadata"]);
        }
    }

    /// Adds an error output from the fields `ename`, `evalue` and `traceback`.
    pub fn push_error(&mut self, content: &Value) {
        let text = |field: &str| content[field].as_str().unwrap_or_default().to_owned();
        let traceback: Vec<&str> =
            content["traceback"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let (ename, evalue) = (text("ename"), text("evalue"));
        self.push(
            json!({"output_type": "error", "ename": ename, "evalue": evalue, "traceback": traceback}),
            None,
        );
    }

    fn push_stream(&mut self, name: &str, text: &str) {
        self.clear_if_due();
        if let Some(last) = self.outputs.last_mut().filter(|o| is_stream(&o.value, name))
            && let Value::String(so_far) = &mut last.value["text"]
        {
            return so_far.push_str(text);
        }
        let value = json!({"output_type": "stream", "name": name, "text": text});
        self.outputs.push(Output { value, display_id: None });
    }

    fn push(&mut self, value: Value, display_id: Option<String>) {
        self.clear_if_due();
        self.outputs.push(Output { value, display_id });
    }

    fn clear_if_due(&mut self) {
        if std::mem::take(&mut self.clear_before_next) {
            self.clear();
        }
    }

    /// Errors stay: what a thread of a cell clears after the cell failed must not make it look well.
    fn clear(&mut self) {
        self.outputs.retain(|output| output.value["output_type"] == "error");
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

    /// The outputs for the document. Two pipes have no common order, so neighbouring streams are saved
    /// stdout first: a rerun gives the same file.
    pub fn to_outputs(&self) -> Vec<Value> {
        merge_streams(self.outputs.iter().map(|o| &o.value))
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
        let mut area = OutputArea::default();
        for m in
            [stream("stdout", "a"), stream("stdout", "b\n"), stream("stderr", "e"), stream("stdout", "c")]
        {
            area.apply(&m);
        }
        let texts: Vec<_> = area.to_outputs().iter().map(|o| o["text"].clone()).collect();
        assert_eq!(texts, ["ab\nc", "e"]);
    }

    #[test]
    fn clear_waits_for_the_next_output() {
        let mut area = OutputArea::default();
        area.apply(&stream("stdout", "1"));
        area.apply(&message("clear_output", json!({"wait": true})));
        assert_eq!(area.to_outputs().len(), 1);
        area.apply(&stream("stdout", "2"));
        assert_eq!(area.to_outputs(), [json!({"output_type": "stream", "name": "stdout", "text": "2"})]);
        area.apply(&message("clear_output", json!({"wait": false})));
        assert!(area.to_outputs().is_empty());
    }

    #[test]
    fn an_update_reaches_every_output_of_that_display_and_no_other() {
        let mut area = OutputArea::default();
        for m in [display("a", "1"), display("b", "1"), display("a", "1")] {
            area.apply(&m);
        }
        area.update_display("a", &json!({"data": {"text/plain": "2"}}));
        let shown: Vec<_> = area.to_outputs().iter().map(|o| o["data"]["text/plain"].clone()).collect();
        assert_eq!(shown, ["2", "1", "2"]);
    }

    #[test]
    fn incomplete_messages_still_make_a_valid_document() {
        let mut area = OutputArea::default();
        area.apply(&message("error", json!({"evalue": 7})));
        area.apply(&message("execute_result", json!({})));
        area.apply(&message("display_data", json!(null)));
        assert_eq!(
            area.to_outputs(),
            [
                json!({"output_type": "error", "ename": "", "evalue": "", "traceback": []}),
                json!({"output_type": "execute_result", "execution_count": null, "data": {}, "metadata": {}}),
                json!({"output_type": "display_data", "data": {}, "metadata": {}}),
            ]
        );
    }
}
