//! `vmm-kvm ctl`: a client of the control socket.

use super::protocol::VERSION;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A run answers between turns; one that is stopped does not.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a run.
#[derive(Debug)]
pub struct Connection {
    socket: BufReader<UnixStream>,
}

impl Connection {
    /// Connects to the run with this control socket.
    ///
    /// # Errors
    /// No run is there, or one that speaks another version of the protocol.
    pub fn open(path: &Path) -> Result<Self> {
        let no_run = || format!("no run has the control socket {}", path.display());
        let socket = UnixStream::connect(path).with_context(no_run)?;
        socket.set_read_timeout(Some(PATIENCE)).context("a time limit for replies")?;
        let mut connection = Self { socket: BufReader::new(socket) };
        let greeting = connection.line()?;
        if greeting["protocol"] != json!(VERSION) {
            bail!("the run's protocol is not version {VERSION}: {greeting}");
        }
        Ok(connection)
    }

    /// Sends a request for this VM, if it is for one; its result.
    ///
    /// # Errors
    /// It was refused, with the reason; or there is no reply.
    pub fn request(&mut self, command: &str, vm: Option<&str>) -> Result<Value> {
        let mut request = json!({ "command": command });
        if let Some(vm) = vm {
            request["vm"] = json!(vm);
        }
        // One write: a run disconnects those that stop half-way.
        let line = format!("{request}\n");
        self.socket.get_mut().write_all(line.as_bytes()).context("sending the request")?;
        let mut reply = self.line()?;
        match reply["ok"] {
            Value::Bool(true) => Ok(reply["result"].take()),
            _ => bail!("{}", reply["error"].as_str().unwrap_or("refused")),
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        let len = self.socket.read_line(&mut line).context("the run does not answer")?;
        if len == 0 {
            bail!("the run has closed the connection");
        }
        serde_json::from_str(&line).with_context(|| format!("the run answers {line:?}"))
    }
}

/// A line for each VM of the result of `list`.
#[must_use]
pub fn table(result: &Value) -> String {
    let vms = result["vms"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |vm: &Value, key: &str| vm[key].as_str().unwrap_or_default().to_string();
    let width = vms.iter().map(|vm| text(vm, "name").chars().count()).max().unwrap_or(0);
    let line = |vm: &Value| {
        let (name, state) = (text(vm, "name"), text(vm, "state"));
        let ending = vm["ending"].as_str().map_or(String::new(), |it| format!(": {it}"));
        let restarts = match vm["restarts"].as_u64() {
            Some(times @ 1..) => format!(", restarts: {times}"),
            Some(0) | None => String::new(),
        };
        format!("{name:width$}  {state}{ending}{restarts}\n")
    };
    vms.iter().map(line).collect()
}
