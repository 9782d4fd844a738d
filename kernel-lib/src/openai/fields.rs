//! Protocol Buffers, as far as a checkpoint's index needs them: a message is a list of fields, each with a number and a
//! value. No nesting is followed here, so that none can be too deep.

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// An integer or an enumeration's.
    Number(u64),
    /// Four bytes, little-endian.
    Fixed(u32),
    /// Text, bytes, or another message.
    Bytes(&'a [u8]),
}

const CUT: &str = "a message ends in a field";

/// The fields of a message, in order.
pub(super) fn fields(mut message: &[u8]) -> Result<Vec<(u64, Value<'_>)>, String> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message).ok_or(CUT)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut message).ok_or(CUT)?),
            2 => {
                let length = varint(&mut message).and_then(|length| usize::try_from(length).ok());
                Value::Bytes(length.and_then(|length| take(&mut message, length)).ok_or(CUT)?)
            }
            5 => {
                let (bytes, rest) = message.split_first_chunk().ok_or(CUT)?;
                message = rest;
                Value::Fixed(u32::from_le_bytes(*bytes))
            }
            other => {
                return Err(format!("field {} has the wire type {other}, which is not known here", tag >> 3));
            }
        };
        fields.push((tag >> 3, value));
    }
    Ok(fields)
}

/// Cuts off a number, seven bits a byte, the lowest first.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for at in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        // Of the tenth byte only one bit is left.
        if at == 9 && bits > 1 {
            return None;
        }
        number |= bits << (7 * at);
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Cuts off the first bytes.
pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let message = b"\x08\x96\x01\x12\x02hi\x35\x01\0\0\x80\x08\x00";
        let expected = [
            (1, Value::Number(150)),
            (2, Value::Bytes(b"hi")),
            (6, Value::Fixed(0x8000_0001)),
            (1, Value::Number(0)),
        ];
        assert_eq!(fields(message).unwrap(), expected);
        assert_eq!(fields(b"").unwrap(), []);
        assert_eq!(varint(&mut &[&[0xff; 9][..], &[1]].concat()[..]), Some(u64::MAX));
    }

    #[test]
    fn cut_or_strange_messages_are_errors() {
        let message = b"\x08\x96\x01\x12\x02hi\x35\x01\0\0\x80";
        // After whole fields a message may end.
        for end in (1..message.len()).filter(|end| ![3, 7].contains(end)) {
            assert_eq!(fields(&message[..end]).unwrap_err(), CUT, "{end}");
        }
        assert!(fields(b"\x09").unwrap_err().contains("wire type 1"));
        assert!(fields(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
        assert_eq!(varint(&mut &[0xff; 11][..]), None);
        assert_eq!(varint(&mut &[&[0xff; 9][..], &[2]].concat()[..]), None);
    }
}
