//! The lines that cross the control socket, each a JSON object: the server's greeting, then a reply
//! to each request, in order.

use serde_json::{Map, Value, json};
use vmm_common::control::VmRequest;

/// The version of the protocol. A client that knows another one should go away.
pub const VERSION: u32 = 1;

/// Commands, whether each is for one VM, and what it does.
const COMMANDS: [(&str, Command, &str); 10] = [
    ("list", Command::List, "The VMs: names, states, endings"),
    ("stats", Command::Stats, "Where the time of each VM went until now"),
    ("pause", Command::Vm(VmRequest::Pause), "The VM does not run until it is resumed"),
    ("resume", Command::Vm(VmRequest::Resume), "The VM goes on"),
    ("restart", Command::Vm(VmRequest::Restart), "The VM begins anew, or for another time"),
    ("stop", Command::Vm(VmRequest::Stop), "The VM ends"),
    ("nmi", Command::Vm(VmRequest::Nmi), "Its first processor takes a non-maskable interrupt"),
    ("dump", Command::Vm(VmRequest::Dump), "Its registers are shown on the console"),
    ("toggle", Command::Vm(VmRequest::PauseOrResume), "Pause if it runs, else resume"),
    ("end", Command::End, "All VMs end, and the run with them"),
];

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The VMs.
    List,
    /// Their accounts.
    Stats,
    /// Of one VM.
    Vm(VmRequest),
    /// The end of the run.
    End,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Comes back with the reply.
    pub id: Option<Value>,
    /// What is asked for.
    pub command: Command,
    /// The name of the VM.
    pub vm: Option<String>,
}

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply(Map<String, Value>);

/// The names of the commands.
pub fn command_names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(name, _, _)| *name)
}

/// The first line of every connection.
#[must_use]
pub fn greeting() -> Value {
    json!({ "tandem": env!("CARGO_PKG_VERSION"), "protocol": VERSION })
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// It is no request; the message says what is allowed.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(line).map_err(|error| format!("{error}"))?;
        let Value::Object(mut fields) = value else {
            return Err("a request is an object with command, and vm and id".into());
        };
        let id = fields.remove("id");
        let command = match fields.remove("command") {
            Some(Value::String(name)) => {
                let found = COMMANDS.iter().find(|(known, _, _)| *known == name);
                found.map(|(_, command, _)| *command)
            }
            Some(_) | None => None,
        };
        let Some(command) = command else {
            let names: Vec<&str> = command_names().collect();
            return Err(format!("command names none; allowed: {}", names.join(", ")));
        };
        let vm = match fields.remove("vm") {
            Some(Value::String(name)) => Some(name),
            None => None,
            Some(_) => return Err("vm is a name".into()),
        };
        match fields.keys().next() {
            Some(key) => Err(format!("{key} is no part of a request; allowed: command, vm, id")),
            None => Ok(Self { id, command, vm }),
        }
    }
}

impl Reply {
    /// The request is carried out.
    pub(super) fn done(id: &Option<Value>) -> Self {
        Self::new(id, true)
    }

    /// It is, with this result.
    pub(super) fn result(id: &Option<Value>, result: Value) -> Self {
        Self::new(id, true).with("result", result)
    }

    /// It is not.
    pub(super) fn refusal(id: &Option<Value>, error: String) -> Self {
        Self::new(id, false).with("error", error.into())
    }

    /// The line, without its end.
    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    fn new(id: &Option<Value>, is_ok: bool) -> Self {
        let reply = Self(Map::new()).with("ok", is_ok.into());
        match id {
            Some(id) => reply.with("id", id.clone()),
            None => reply,
        }
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.into(), value);
        self
    }
}

/// The JSON Schema of all lines.
#[must_use]
pub fn schema() -> Value {
    let command = |(name, command, what): &(&str, Command, &str)| {
        let mut fields = json!({ "command": { "const": name }, "id": {} });
        let mut required = vec!["command"];
        if let Command::Vm(_) = command {
            fields["vm"] = json!({ "type": "string", "description": "The name of the VM" });
            required.push("vm");
        }
        json!({
            "type": "object",
            "description": what,
            "properties": fields,
            "required": required,
            "additionalProperties": false,
        })
    };
    let lines = ["greeting", "request", "reply"];
    let lines = lines.map(|line| json!({ "$ref": format!("#/$defs/{line}") }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The control socket of a Tandem run",
        "description": "A line a JSON object. The server begins with its greeting; it answers each \
            request by a reply, in order, and disconnects a client that breaks these rules or does \
            not read.",
        "$defs": {
            "greeting": {
                "type": "object",
                "properties": {
                    "tandem": { "type": "string", "description": "The version of Tandem" },
                    "protocol": { "const": VERSION },
                },
                "required": ["tandem", "protocol"],
            },
            "request": { "oneOf": COMMANDS.iter().map(command).collect::<Vec<_>>() },
            "reply": {
                "type": "object",
                "properties": {
                    "id": { "description": "The request's, if it had one" },
                    "ok": { "type": "boolean", "description": "It was carried out" },
                    "result": { "type": "object", "description": "Of list and stats" },
                    "error": { "type": "string", "description": "Why it was not" },
                },
                "required": ["ok"],
                "additionalProperties": false,
            },
        },
        "oneOf": lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, String> {
        Request::parse(line.as_bytes())
    }

    #[test]
    fn a_request_is_read_with_its_id() {
        let request = parse(r#"{"command": "pause", "vm": "left", "id": [7]}"#).expect("it is one");
        assert_eq!(request.command, Command::Vm(VmRequest::Pause));
        assert_eq!((request.vm.as_deref(), request.id), (Some("left"), Some(json!([7]))));
    }

    #[test]
    fn what_is_no_request_is_refused_with_what_is_allowed() {
        let check = |line: &str, part: &str| {
            let error = parse(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        };
        check("", "EOF");
        check("[1]", "a request is an object");
        check(r#"{"command": "fly"}"#, "allowed: list, stats, pause, resume, restart");
        check(r#"{"command": 1}"#, "command names none");
        check(r#"{"vm": "left"}"#, "command names none");
        check(r#"{"command": "pause", "vm": 1}"#, "vm is a name");
        check(r#"{"command": "list", "all": true}"#, "all is no part of a request");
        assert!(Request::parse(&[0xff, 0xfe, b'\n']).is_err());
    }

    #[test]
    fn the_schema_takes_what_the_parser_takes() {
        let schema = jsonschema::validator_for(&schema()).expect("it is a schema");
        let lines = [
            r#"{"command": "list"}"#,
            r#"{"command": "restart", "vm": "left", "id": 1}"#,
            r#"{"command": "restart"}"#,
            r#"{"command": "fly"}"#,
            r#"{"command": "list", "all": true}"#,
            r#"[]"#,
        ];
        for (line, is_allowed) in lines.iter().zip([true, true, false, false, false, false]) {
            let value: Value = serde_json::from_str(line).expect("it is JSON");
            assert_eq!(schema.is_valid(&value), is_allowed, "{line}");
        }
        assert!(schema.is_valid(&greeting()));
        let replies = [Reply::done(&None), Reply::refusal(&Some(json!("x")), "no".into())];
        for reply in replies {
            let value = reply.into_value();
            assert!(schema.is_valid(&value), "{value}");
        }
    }
}
