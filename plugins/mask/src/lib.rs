//! `mask`: hashes, tokenises or removes values of columns.

use floe_sdk::dynamic::{Column, DynamicOperator, Out, Row, Schema, Shape, Type, Value};
use floe_sdk::{Config, Result, bail};
use sha2::{Digest, Sha256};

struct Mask {
    /// For each column, what is done to it.
    methods: Vec<Method>,
    /// The key, padded to a block of the hash (RFC 2104).
    key: [u8; 64],
    text: Vec<String>,
}

enum Method {
    Keep,
    /// HMAC-SHA-256 as 64 hexadecimal digits.
    Hash,
    /// The first 80 bits of it behind "tok_", in 16 letters and digits.
    Tokenise,
    /// Null where the column may be null, else "***".
    Redact,
    /// All but the last four characters become "*".
    LastFour,
}

impl DynamicOperator for Mask {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let input = Schema::known(upstream)?;
        let mut output = input.clone();
        let mut methods: Vec<Method> = input.columns.iter().map(|_| Method::Keep).collect();
        let mut needs_key = false;
        for named in ["hash", "tokenise", "redact", "last4"] {
            for column in config.get::<Vec<String>>(named)?.unwrap_or_default() {
                let index = input.index(&column)?;
                let declared = &input.columns[index];
                if !matches!(methods[index], Method::Keep) {
                    bail!("column {column:?} is masked in two ways");
                }
                if matches!(declared.ty, Type::List(_) | Type::Struct(_)) && named != "redact" {
                    bail!("{named} of column {column:?}: it is {}", declared.ty.name());
                }
                if named == "last4" && declared.ty != Type::Text {
                    bail!("last4 of column {column:?}: it is no string");
                }
                needs_key |= matches!(named, "hash" | "tokenise");
                methods[index] = match named {
                    "hash" => Method::Hash,
                    "tokenise" => Method::Tokenise,
                    "redact" => Method::Redact,
                    _ => Method::LastFour,
                };
                let ty = match (named, &declared.ty) {
                    ("redact", ty) if declared.nullable || *ty == Type::Text => ty.clone(),
                    ("redact", ty) => {
                        bail!("redact of column {column:?}: {} cannot be null", ty.name())
                    }
                    _ => Type::Text,
                };
                output.columns[index] = Column { ty, ..declared.clone() };
            }
        }
        let secret: Option<String> = config.get("key")?;
        if needs_key && secret.as_ref().is_none_or(|it| it.len() < 16) {
            bail!(
                "hash and tokenise need config.key, of 16 bytes or more: without a secret, a hash of what can be guessed hides nothing"
            );
        }
        let text = vec![String::new(); methods.len()];
        let mask = Mask { methods, key: block(secret.unwrap_or_default().as_bytes()), text };
        Ok((mask, Shape::new(input.clone(), output)))
    }

    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
        let Mask { methods, key, text } = self;
        let values = methods.iter().zip(text.iter_mut()).zip(row.values());
        let done = out.emit(values.map(|((method, text), value)| method.apply(value, key, text)));
        // What was masked is no state: not even in memory.
        text.iter_mut().for_each(clear);
        done
    }
}

/// Empties the text and leaves zeros where it was.
fn clear(text: &mut String) {
    let mut bytes = std::mem::take(text).into_bytes();
    bytes.fill(0);
    bytes.clear();
    *text = String::from_utf8(bytes).unwrap_or_default();
}

impl Method {
    fn apply<'v>(&self, value: Value<'v>, key: &[u8; 64], text: &'v mut String) -> Value<'v> {
        if value == Value::Null {
            return Value::Null;
        }
        match self {
            Method::Keep => return value,
            Method::Hash => {
                hmac(key, value).iter().for_each(|it| text.push_str(&format!("{it:02x}")))
            }
            Method::Tokenise => {
                text.push_str("tok_");
                let bits = hmac(key, value)[..10]
                    .iter()
                    .fold(0u128, |bits, it| bits << 8 | u128::from(*it));
                const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
                (0..16)
                    .rev()
                    .for_each(|it| text.push(LETTERS[(bits >> (5 * it)) as usize % 32].into()));
            }
            Method::Redact => {
                return match value {
                    Value::Text(_) => Value::Text("***"),
                    _ => Value::Null,
                };
            }
            Method::LastFour => {
                let Value::Text(whole) = value else { return Value::Null };
                let hidden = whole.chars().count().saturating_sub(4);
                text.extend(
                    whole.chars().enumerate().map(|(at, it)| if at < hidden { '*' } else { it }),
                );
            }
        }
        Value::Text(text)
    }
}

fn block(key: &[u8]) -> [u8; 64] {
    let mut block = [0; 64];
    if key.len() <= 64 {
        block[..key.len()].copy_from_slice(key);
    } else {
        block[..32].copy_from_slice(&Sha256::digest(key));
    }
    block
}

fn hmac(key: &[u8; 64], value: Value<'_>) -> [u8; 32] {
    let inner = Sha256::new_with_prefix(key.map(|it| it ^ 0x36));
    let inner = match value {
        Value::Text(it) => inner.chain_update(it),
        Value::Bytes(it) => inner.chain_update(it),
        Value::Int(it) => inner.chain_update(it.to_string()),
        Value::UInt(it) => inner.chain_update(it.to_string()),
        Value::Decimal(it) => inner.chain_update(it.to_string()),
        Value::Float(it) => inner.chain_update(it.to_string()),
        Value::Bool(it) => inner.chain_update(it.to_string()),
        Value::Null | Value::List(_) | Value::Struct(_) => inner,
    };
    let outer = Sha256::new_with_prefix(key.map(|it| it ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

floe_sdk::dynamic_operator!(Mask, name = "mask", state_version = 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_hmac_sha_256() {
        // RFC 4231, test cases 2 and 6.
        let hex = |it: [u8; 32]| it.iter().map(|it| format!("{it:02x}")).collect::<String>();
        let text = Value::Text("what do ya want for nothing?");
        let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(hmac(&block(b"Jefe"), text)), known);
        let text = Value::Text("Test Using Larger Than Block-Size Key - Hash Key First");
        let known = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(hex(hmac(&block(&[0xaa; 131]), text)), known);
    }
}
