"""The Jupyter project's own conformance tests (jupyter_kernel_test) on our kernel, with every sample filled in.

    .venv/bin/python tests/jupyter/conformance.py [-v] [name of a test…]

Needs `igpt setup` and tests/jupyter/requirements.txt. Other tests hold the kernel to its promises; these hold it to the
protocol's messages, each of which is compared with its schema. What does not apply:

* `code_page_something`: payloads are deprecated in the protocol, and Rust has no pager. `execute_reply` has an empty
  `payload`, which the schema asks for."""

import unittest

import jupyter_kernel_test
from jupyter_client.manager import start_new_kernel

# The library is compiled by `igpt setup`; a cell that waits for the kernel to start still needs its time.
jupyter_kernel_test.TIMEOUT = 120


class Conformance(jupyter_kernel_test.KernelTests):
    kernel_name = "igpt"
    language_name = "rust"
    file_extension = ".rs"

    @classmethod
    def setUpClass(cls):
        cls.km, cls.kc = start_new_kernel(kernel_name=cls.kernel_name, startup_timeout=120)
        # Names that completion and inspection know.
        cls.kc.execute_interactive("let conforming = 1;", timeout=300, output_hook=lambda message: None)

    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("a warning");'

    completion_samples = [
        {"text": "confor", "matches": {"conforming"}},
        # What these offer besides is no matter: see test_what_completion_offers.
        {"text": "Tensor::zeros_l"},
        {"text": "let n = conforming.is_posi"},
        # Nothing fits: an answer all the same.
        {"text": "no_such_name_at_all", "matches": set()},
    ]

    complete_code_samples = [
        "",
        "1 + 1",
        "let a = 1;",
        'println!("(");',
        "fn one() -> u32 {\n    1\n}",
        "let r = r#\"a \"{\" b\"#;",
        "// an open { in a comment",
        "/* and { here */",
        "let c = '{';",
        "fn life<'a>(x: &'a str) -> &'a str { x }",
        "conforming.to_string()",
    ]
    incomplete_code_samples = [
        "fn one() -> u32 {",
        "let a = vec![1,",
        'println!("open',
        "if true {\n    1\n} else {",
        "/* not closed",
        'let r = r#"not closed"',
    ]
    # More closed than opened: more text cannot mend it.
    invalid_code_samples = ["let a = 1);", "}", "fn one( -> u32 { ]"]

    code_generate_error = 'panic!("on purpose");'

    code_execute_result = [
        {"code": "6 * 7", "result": "42"},
        {"code": 'String::from("ab")', "result": '"ab"'},
        {"code": "conforming", "result": "1"},
        {"code": "Some(6 * 7)", "result": "Some(42)"},
    ]
    code_history_pattern = "6 * 7*"
    supported_history_operations = ("tail", "range", "search")

    code_display_data = [
        {"code": 'show::display(&"text");', "mime": "text/plain"},
        {"code": 'show::display(&Table::new(["a"]));', "mime": "text/html"},
    ]
    code_clear_output = "show::clear();"
    code_inspect_sample = "conforming"

    def test_what_completion_offers(self):
        """Not of the suite: methods and functions are offered, with or without their arguments."""
        for text, expected in [("Tensor::ze", "zeros_like"), ("let n = conforming.is_posi", "is_positive")]:
            self.kc.complete(text)
            content = self.get_non_kernel_info_reply(timeout=60)["content"]
            self.assertTrue(any(match.startswith(expected) for match in content["matches"]), content)
            self.assertEqual(content["cursor_end"], len(text))

    def test_an_error_stops_what_is_queued(self):
        """Not of the suite: cells queued behind a failed one are aborted, unless `stop_on_error` is false."""
        for stop, expected in [(True, "aborted"), (False, "ok")]:
            self.flush_channels()
            self.kc.execute('panic!("on purpose");', stop_on_error=stop)
            self.kc.execute("1 + 1")
            replies = [self.get_non_kernel_info_reply(timeout=60)["content"]["status"] for _ in range(2)]
            self.assertEqual(replies[0], "error")
            # The protocol knows `aborted` as an error, too.
            self.assertIn(replies[1], [expected, "error" if stop else "ok"])


class Welcome(jupyter_kernel_test.IopubWelcomeTests):
    kernel_name = "igpt"
    support_iopub_welcome = True


if __name__ == "__main__":
    unittest.main()
