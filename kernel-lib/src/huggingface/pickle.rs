//! The part of Python's pickle that PyTorch writes a state dictionary in: names, and for each the storage, shape and
//! strides of a tensor.
//!
//! A pickle is a program for a machine with a stack. This machine knows the instructions and the functions that a state
//! dictionary needs, by name, and nothing else: nothing of Python is called. Values refer to each other by number and not
//! by reference, so neither nesting nor cycles can exhaust anything, and there are at most [`MOST`] of each sort.

use super::tensor::Kind;
use std::collections::BTreeMap;

/// Most values on the stack, in the memo, and of each sort. A network of 60 layers has some 600 tensors.
const MOST: usize = 1 << 16;

/// Numbers in a file of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    pub(super) kind: Kind,
    /// The file's name.
    pub(super) key: &'a str,
    /// How many numbers.
    pub(super) len: usize,
}

/// A tensor: some of the numbers of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor<'a> {
    pub(super) storage: Storage<'a>,
    /// The place of the first one.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
    /// What must be done to the numbers before they are the tensor's.
    pub(super) pending: Option<Pending>,
}

/// What PyTorch can put off until somebody needs the numbers. A file then has the numbers as they were before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    /// The other sign.
    Negative,
    /// The complex conjugate.
    Conjugate,
}

/// The tensors of a state dictionary by name, or what is wrong with it.
pub(super) fn state_dict(pickle: &[u8]) -> Result<BTreeMap<&str, Tensor<'_>>, String> {
    let mut machine = Machine { rest: pickle, ..Machine::default() };
    while machine.step()? == Step::More {}
    let (root, []) = (machine.pop()?, &machine.stack[..]) else {
        return Err("it ends with more than one value".to_owned());
    };
    if !machine.rest.is_empty() {
        return Err("it goes on after its end".to_owned());
    }
    let Value::Dict(root) = root else {
        return Err(format!("it holds {}, not a dictionary of tensors", root.what()));
    };
    let mut named = BTreeMap::new();
    for (name, value) in &machine.dicts[root] {
        let Value::Str(name) = *name else {
            return Err(format!("a tensor's name is {}", name.what()));
        };
        let Value::Tensor(tensor) = *value else {
            return Err(format!("{name:?} is {}, not a tensor: this is no state dictionary", value.what()));
        };
        if named.insert(name, machine.tensors[tensor].clone()).is_some() {
            return Err(format!("{name:?} is there twice"));
        }
    }
    Ok(named)
}

/// What is on the stack. Tuples, dictionaries, … are numbers in the machine's lists.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Str(&'a str),
    Tuple(usize),
    Dict(usize),
    Function(Function),
    StorageType(Kind),
    Storage(Storage<'a>),
    Tensor(usize),
}

/// The functions that may be called.
#[derive(Debug, Clone, Copy)]
enum Function {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
}

impl Value<'_> {
    /// In words, for errors.
    fn what(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a number",
            Self::Str(_) => "a string",
            Self::Tuple(_) => "a tuple",
            Self::Dict(_) => "a dictionary",
            Self::Function(_) => "a function",
            Self::StorageType(_) => "a type",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    More,
    End,
}

#[derive(Debug, Default)]
struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value<'a>>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Value<'a>>,
    tuples: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    tensors: Vec<Tensor<'a>>,
}

impl<'a> Machine<'a> {
    /// Does one instruction.
    fn step(&mut self) -> Result<Step, String> {
        let [opcode] = self.bytes()?;
        match opcode {
            // PROTO
            0x80 => match self.bytes()? {
                [2] => {}
                [protocol] => return Err(format!("pickle protocol {protocol}; torch.save's usual one is 2")),
            },
            // MARK
            b'(' => bounded(&mut self.marks, self.stack.len())?,
            // STOP
            b'.' => return Ok(Step::End),
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.push(Value::None)?,
            0x88 | 0x89 => self.push(Value::Bool(opcode == 0x88))?,
            // BININT, BININT1, BININT2, LONG1
            b'J' => {
                let number = i32::from_le_bytes(self.bytes()?);
                self.push(Value::Int(number.into()))?;
            }
            b'K' => {
                let [number] = self.bytes()?;
                self.push(Value::Int(number.into()))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(self.bytes()?);
                self.push(Value::Int(number.into()))?;
            }
            0x8a => {
                let number = self.long()?;
                self.push(Value::Int(number))?;
            }
            // BINUNICODE
            b'X' => {
                let length = u32::from_le_bytes(self.bytes()?) as usize;
                let text = std::str::from_utf8(self.take(length)?).map_err(|_| "a string is not UTF-8")?;
                self.push(Value::Str(text))?;
            }
            // GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(global(module, name)?)?;
            }
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => self.tuple(self.stack.len())?,
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(count).filter(|start| *start >= self.floor());
                self.tuple(start.ok_or_else(empty)?)?;
            }
            b't' => {
                let mark = self.marks.pop().ok_or_else(empty)?;
                self.tuple(mark)?;
            }
            // EMPTY_DICT
            b'}' => self.dict()?,
            // SETITEM, SETITEMS
            b's' => {
                let start = self.stack.len().checked_sub(2).filter(|start| *start >= self.floor());
                self.set_items(start.ok_or_else(empty)?)?;
            }
            b'u' => {
                let mark = self.marks.pop().ok_or_else(empty)?;
                self.set_items(mark)?;
            }
            // BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
            b'q' => {
                let [at] = self.bytes()?;
                self.put(at.into())?;
            }
            b'r' => {
                let at = u32::from_le_bytes(self.bytes()?);
                self.put(at)?;
            }
            b'h' => {
                let [at] = self.bytes()?;
                self.get(at.into())?;
            }
            b'j' => {
                let at = u32::from_le_bytes(self.bytes()?);
                self.get(at)?;
            }
            // BINPERSID
            b'Q' => self.storage()?,
            // REDUCE
            b'R' => self.call()?,
            // BUILD: sets attributes of a dictionary, such as the versions of modules, which nobody needs.
            b'b' => {
                let (state, object) = (self.pop()?, self.pop()?);
                let (Value::Dict(_), Value::Dict(_)) = (state, object) else {
                    return Err(format!("it sets attributes of {}", object.what()));
                };
                self.push(object)?;
            }
            other => {
                return Err(format!(
                    "instruction {:?} ({other:#04x}), which no state dictionary needs",
                    char::from(other)
                ));
            }
        }
        Ok(Step::More)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (first, rest) = self.rest.split_at_checked(count).ok_or("it ends in an instruction")?;
        self.rest = rest;
        Ok(first)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (first, rest) = self.rest.split_first_chunk().ok_or("it ends in an instruction")?;
        self.rest = rest;
        Ok(*first)
    }

    /// Text up to a newline.
    fn line(&mut self) -> Result<&'a str, String> {
        let length = self.rest.iter().position(|byte| *byte == b'\n').ok_or("it ends in an instruction")?;
        let line = std::str::from_utf8(self.take(length)?).map_err(|_| "a name is not UTF-8")?;
        self.take(1)?;
        Ok(line)
    }

    /// An integer of so many bytes as the first says, in two's complement.
    fn long(&mut self) -> Result<i64, String> {
        let [length] = self.bytes()?;
        let bytes = self.take(length.into())?;
        let negative = bytes.last().is_some_and(|last| *last >= 0x80);
        let mut all = [if negative { 0xff } else { 0 }; 8];
        all.get_mut(..bytes.len()).ok_or("a number of more than 8 bytes")?.copy_from_slice(bytes);
        Ok(i64::from_le_bytes(all))
    }

    /// How high the stack was at the last mark: nothing below may be taken.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), String> {
        bounded(&mut self.stack, value)
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        if self.stack.len() <= self.floor() {
            return Err(empty());
        }
        self.stack.pop().ok_or_else(empty)
    }

    fn put(&mut self, at: u32) -> Result<(), String> {
        let top = self.pop()?;
        self.push(top)?;
        if self.memo.len() >= MOST {
            return Err(too_many());
        }
        self.memo.insert(at, top);
        Ok(())
    }

    fn get(&mut self, at: u32) -> Result<(), String> {
        let value = self.memo.get(&at).ok_or_else(|| format!("it takes value {at}, which it never kept"))?;
        self.push(*value)
    }

    /// What is on the stack from `start` becomes a tuple.
    fn tuple(&mut self, start: usize) -> Result<(), String> {
        let items = self.stack.split_off(start.min(self.stack.len()));
        bounded(&mut self.tuples, items)?;
        self.push(Value::Tuple(self.tuples.len() - 1))
    }

    fn dict(&mut self) -> Result<(), String> {
        bounded(&mut self.dicts, Vec::new())?;
        self.push(Value::Dict(self.dicts.len() - 1))
    }

    /// What is on the stack from `start` are keys and values of the dictionary below.
    fn set_items(&mut self, start: usize) -> Result<(), String> {
        let items = self.stack.split_off(start.min(self.stack.len()));
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err("a dictionary gets a key without a value".to_owned());
        };
        let object = self.pop()?;
        let Value::Dict(dict) = object else {
            return Err(format!("{} gets items as if it were a dictionary", object.what()));
        };
        self.dicts[dict].extend(pairs.iter().map(|[key, value]| (*key, *value)));
        self.push(object)
    }

    /// `('storage', type, key, device, length)` becomes a storage.
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let Value::Tuple(id) = id else {
            return Err(format!("{} is no storage", id.what()));
        };
        let &[
            Value::Str("storage"),
            Value::StorageType(kind),
            Value::Str(key),
            Value::Str(_),
            Value::Int(len),
        ] = &self.tuples[id][..]
        else {
            return Err("a tuple is no storage".to_owned());
        };
        let len = usize::try_from(len).map_err(|_| format!("a storage of {len} numbers"))?;
        self.push(Value::Storage(Storage { kind, key, len }))
    }

    /// Calls the function that is below its arguments.
    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments), Value::Function(function)) = (arguments, function) else {
            return Err(format!("it calls {} with {}", function.what(), arguments.what()));
        };
        match (function, &self.tuples[arguments][..]) {
            (Function::OrderedDict, []) => self.dict(),
            // Whether it has gradients, and hooks, say nothing of its numbers; metadata, in newer versions, does.
            (
                Function::RebuildTensor,
                &[
                    Value::Storage(storage),
                    Value::Int(offset),
                    Value::Tuple(shape),
                    Value::Tuple(strides),
                    Value::Bool(_),
                    Value::Dict(_),
                    ref metadata @ ..,
                ],
            ) if metadata.len() <= 1 => {
                let pending = self.pending(metadata)?;
                let offset = usize::try_from(offset).map_err(|_| format!("a tensor at {offset}"))?;
                let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
                bounded(&mut self.tensors, Tensor { storage, offset, shape, strides, pending })?;
                self.push(Value::Tensor(self.tensors.len() - 1))
            }
            (Function::RebuildParameter, &[tensor @ Value::Tensor(_), Value::Bool(_), Value::Dict(_)]) => {
                self.push(tensor)
            }
            (function, _) => Err(format!("{function:?} is called with other arguments than PyTorch writes")),
        }
    }

    /// What a tensor's metadata say is still to be done to its numbers.
    fn pending(&self, metadata: &[Value<'a>]) -> Result<Option<Pending>, String> {
        let items = match metadata {
            [] | [Value::None] => return Ok(None),
            [Value::Dict(items), ..] => &self.dicts[*items],
            [other, ..] => return Err(format!("a tensor's metadata are {}", other.what())),
        };
        let mut pending = None;
        for item in items {
            match item {
                (Value::Str("neg" | "conj"), Value::Bool(false)) => {}
                (Value::Str("neg"), Value::Bool(true)) => pending = Some(Pending::Negative),
                (Value::Str("conj"), Value::Bool(true)) => pending = Some(Pending::Conjugate),
                (Value::Str(name), _) => {
                    return Err(format!("a tensor's metadata have {name:?}, which is not known here"));
                }
                (name, _) => return Err(format!("a name in a tensor's metadata is {}", name.what())),
            }
        }
        Ok(pending)
    }

    /// A tuple of at most 8 lengths.
    fn sizes(&self, tuple: usize) -> Result<Vec<usize>, String> {
        let sizes = &self.tuples[tuple];
        let size = |value: &Value<'_>| match *value {
            Value::Int(size) => usize::try_from(size).ok(),
            _ => None,
        };
        let sizes: Option<Vec<usize>> =
            if sizes.len() <= 8 { sizes.iter().map(size).collect() } else { None };
        sizes.ok_or_else(|| "a tensor's shape or strides are not up to 8 lengths".to_owned())
    }
}

/// Types and functions that a state dictionary may name.
fn global(module: &str, name: &str) -> Result<Value<'static>, String> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Value::Function(Function::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Value::Function(Function::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Value::Function(Function::RebuildParameter),
        ("torch", "DoubleStorage") => Value::StorageType(Kind::F64),
        ("torch", "FloatStorage") => Value::StorageType(Kind::F32),
        ("torch", "HalfStorage") => Value::StorageType(Kind::F16),
        ("torch", "BFloat16Storage") => Value::StorageType(Kind::Bf16),
        ("torch", "LongStorage") => Value::StorageType(Kind::Other(8)),
        ("torch", "IntStorage") => Value::StorageType(Kind::Other(4)),
        ("torch", "ShortStorage") => Value::StorageType(Kind::Other(2)),
        ("torch", "CharStorage" | "ByteStorage" | "BoolStorage") => Value::StorageType(Kind::Other(1)),
        _ => return Err(format!("it names {module}.{name}, which no dictionary of tensors needs")),
    })
}

fn bounded<T>(list: &mut Vec<T>, item: T) -> Result<(), String> {
    if list.len() >= MOST {
        return Err(too_many());
    }
    list.push(item);
    Ok(())
}

fn too_many() -> String {
    format!("more than {MOST} values, which no dictionary of tensors has")
}

fn empty() -> String {
    "an instruction takes values that are not there".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"w": tensor}` as torch.save of PyTorch 2.5 writes it, with a storage of 6 floats, made by hand.
    fn written(name: &str, before_stop: &[u8]) -> Vec<u8> {
        with_metadata(name, b"", before_stop)
    }

    /// The same with a seventh argument of `_rebuild_tensor_v2`.
    fn with_metadata(name: &str, metadata: &[u8], before_stop: &[u8]) -> Vec<u8> {
        let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
        [
            b"\x80\x02}q\x00".to_vec(),
            text(name),
            b"q\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((".to_vec(),
            text("storage"),
            b"q\x03ctorch\nFloatStorage\nq\x04".to_vec(),
            text("0"),
            text("cpu"),
            b"K\x06tQK\x00K\x02\x8a\x01\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)R".to_vec(),
            metadata.to_vec(),
            b"tRs".to_vec(),
            before_stop.to_vec(),
            b".".to_vec(),
        ]
        .concat()
    }

    #[test]
    fn a_state_dictionary_is_read() {
        let pickle = written("w", b"");
        let found = state_dict(&pickle).unwrap();
        let storage = Storage { kind: Kind::F32, key: "0", len: 6 };
        assert_eq!(
            found["w"],
            Tensor { storage, offset: 0, shape: vec![2, 3], strides: vec![3, 1], pending: None }
        );
        assert_eq!(found.len(), 1);
        // Attributes are allowed, and not looked at.
        assert_eq!(state_dict(&written("w", b"}b")).unwrap().len(), 1);
    }

    #[test]
    fn metadata_say_what_is_still_to_be_done_to_the_numbers() {
        let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
        let of = |items: &[(&str, &[u8])]| {
            let items = items.iter().flat_map(|(name, value)| [&text(name), *value, b"s"].concat());
            let metadata = [b"}".to_vec(), items.collect()].concat();
            state_dict(&with_metadata("w", &metadata, b"")).map(|found| found["w"].pending)
        };
        let (yes, no) = (&b"\x88"[..], &b"\x89"[..]);
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&[("neg", no), ("conj", no)]).unwrap(), None);
        assert_eq!(of(&[("neg", yes)]).unwrap(), Some(Pending::Negative));
        assert_eq!(of(&[("conj", yes)]).unwrap(), Some(Pending::Conjugate));
        for (bad, said) in [
            (of(&[("quantum", yes)]), "metadata have \"quantum\", which is not known here"),
            (of(&[("neg", b"K\x01")]), "metadata have \"neg\""),
            (
                state_dict(&with_metadata("w", b"K\x01", b"")).map(|_| None),
                "a tensor's metadata are a number",
            ),
            (state_dict(&with_metadata("w", b"}}", b"")).map(|_| None), "called with other arguments"),
        ] {
            let error = bad.unwrap_err();
            assert!(error.contains(said), "{error:?} does not say {said:?}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for (pickle, said) in [
            (&b""[..], "ends in an instruction"),
            (b"\x80\x04.", "protocol 4"),
            (b"\x80\x02.", "values that are not there"),
            (b"\x80\x02N.", "it holds None, not a dictionary of tensors"),
            (b"\x80\x02}}.", "more than one value"),
            (b"\x80\x02}.N", "goes on after its end"),
            (b"\x80\x02cos\nsystem\n.", "it names os.system"),
            (b"\x80\x02ctorch\nload\n.", "it names torch.load"),
            (b"\x80\x02i.", "instruction 'i' (0x69)"),
            (b"\x80\x02h\x05.", "value 5, which it never kept"),
            (b"\x80\x02}K\x01K\x02s.", "a tensor's name is a number"),
            (b"\x80\x02}X\x01\0\0\0aK\x02s.", "\"a\" is a number, not a tensor"),
            (b"\x80\x02}(K\x01u.", "a key without a value"),
            (b"\x80\x02N(K\x01K\x01u.", "None gets items"),
            (b"\x80\x02(}(\x85.", "values that are not there"),
            (b"\x80\x02K\x01(R.", "values that are not there"),
            (b"\x80\x02NNR.", "it calls None with None"),
            (b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "OrderedDict is called with other arguments"),
            (b"\x80\x02N}b.", "attributes of None"),
            (b"\x80\x02K\x01Q.", "a number is no storage"),
            (b"\x80\x02)Q.", "a tuple is no storage"),
            (b"\x80\x02X\xff\xff\xff\xffa.", "ends in an instruction"),
            (b"\x80\x02X\x01\0\0\0\xff.", "not UTF-8"),
            (b"\x80\x02\x8a\x09123456789.", "more than 8 bytes"),
            (b"\x80\x02ctorch", "ends in an instruction"),
        ] {
            let error = state_dict(pickle).unwrap_err();
            assert!(error.contains(said), "{error:?} does not say {said:?}");
        }
        for byte in [b'N', b'}', b')', b'('] {
            let error = state_dict(&vec![byte; MOST + 1]).unwrap_err();
            assert!(error.contains("more than 65536 values"), "{error:?}");
        }
        // Nesting is nothing special: a tuple in a tuple in a tuple …
        let nested = [&b"N"[..], &vec![0x85; MOST - 1], b"."].concat();
        assert!(state_dict(&nested).unwrap_err().contains("it holds a tuple"));
        // … and a dictionary in itself.
        assert!(state_dict(b"}q\x00K\x01h\x00s.").unwrap_err().contains("name is a number"));
        let good = written("w", b"");
        assert!((0..good.len()).all(|end| state_dict(&good[..end]).is_err()));
    }
}
