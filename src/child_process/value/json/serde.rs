//! Values from and to `serde_json`, for programs that have their messages there.

use super::super::{BigInt, CodecError, Kind, Value, ViewKind};

/// How deep a value for `serde_json` may be: twice what it reads itself, as dropping one recurses.
const DEPTH: usize = 256;
/// How many parts it may have, as one object in many places is copied to each.
const PARTS: usize = 1 << 24;

impl From<serde_json::Value> for Value {
    /// What `JSON.parse` would give: numbers become doubles.
    fn from(json: serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(truth) => Value::Bool(truth),
            serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => text.into(),
            serde_json::Value::Array(elements) => Value::array(elements),
            serde_json::Value::Object(properties) => Value::object(properties),
        }
    }
}

impl Value {
    /// What the value is in `serde_json`: as [`stringify`](super::stringify()) writes it, except that
    /// lone surrogates become U+FFFD and `undefined` alone `null`.
    ///
    /// ```
    /// use blacklight::child_process::Value;
    /// use serde_json::json;
    ///
    /// let value = Value::from(json!({ "a": [1, 2.5, null] }));
    /// assert_eq!(value.to_json()?, json!({ "a": [1, 2.5, null] }));
    /// # Ok::<(), blacklight::child_process::CodecError>(())
    /// ```
    ///
    /// # Errors
    /// [`CodecError::Unsendable`] for a bigint and a cycle, [`CodecError::TooDeep`] above 256
    /// levels, [`CodecError::TooLong`] above 16 million parts.
    pub fn to_json(&self) -> Result<serde_json::Value, CodecError> {
        convert(self, DEPTH, &mut { PARTS })
    }
}

fn convert(value: &Value, depth: usize, left: &mut usize) -> Result<serde_json::Value, CodecError> {
    *left = left.checked_sub(1).ok_or(CodecError::TooLong { limit: PARTS })?;
    Ok(match value {
        Value::Undefined | Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => from_number(*number),
        Value::String(text) => text.to_str_lossy().into(),
        Value::BigInt(_) => return Err(CodecError::Unsendable("JSON has no bigints")),
        Value::Cycle(_) => return Err(CodecError::Unsendable("JSON has no cycles")),
        Value::Object(object) => {
            let depth = depth.checked_sub(1).ok_or(CodecError::TooDeep { limit: DEPTH })?;
            from_kind(object.kind(), depth, left)?
        }
    })
}

fn from_kind(kind: &Kind, depth: usize, left: &mut usize) -> Result<serde_json::Value, CodecError> {
    let mut object = serde_json::Map::new();
    match kind {
        Kind::Plain(properties) => {
            for (key, value) in properties.iter().filter(|(_, value)| !value.is_undefined()) {
                object.insert(key.to_str_lossy().into_owned(), convert(value, depth, left)?);
            }
        }
        Kind::Array(array) => {
            *left = left.checked_sub(array.len()).ok_or(CodecError::TooLong { limit: PARTS })?;
            let mut elements = Vec::with_capacity(array.len());
            for (index, element) in array.iter() {
                elements.resize(index, serde_json::Value::Null);
                elements.push(convert(element, depth, left)?);
            }
            elements.resize(array.len(), serde_json::Value::Null);
            return Ok(elements.into());
        }
        Kind::View(view) if view.kind() == ViewKind::Buffer => {
            object.insert("type".to_owned(), "Buffer".into());
            object.insert("data".to_owned(), view.bytes().into());
        }
        Kind::View(view) if view.kind() != ViewKind::DataView => {
            for index in 0..view.len() {
                let element = view.element(index).unwrap_or_default();
                object.insert(index.to_string(), convert(&element, depth, left)?);
            }
        }
        Kind::Boolean(truth) => return Ok((*truth).into()),
        Kind::Number(number) => return Ok(from_number(*number)),
        Kind::String(text) => return Ok(text.to_str_lossy().into()),
        Kind::BigInt(number) => {
            return convert(&Value::BigInt(BigInt::clone(number)), depth, left);
        }
        Kind::Date(milliseconds) => return Ok(super::write::iso(*milliseconds).into()),
        Kind::View(_)
        | Kind::Map(_)
        | Kind::Set(_)
        | Kind::Error(_)
        | Kind::RegExp(_)
        | Kind::ArrayBuffer(_) => {}
    }
    Ok(object.into())
}

/// Whole numbers as such, so that `1.0` does not come out of a `1`.
fn from_number(number: f64) -> serde_json::Value {
    match Value::Number(number).as_i64() {
        Some(whole) => whole.into(),
        None => number.into(),
    }
}
