//! The terminal in raw mode while a machine has the keyboard, and as it was in every other case.

use anyhow::{Context, Result};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr,
    tcsetattr,
};
use std::io;
use std::panic;
use std::sync::{Mutex, PoisonError};

/// The settings to go back to; here rather than in [`RawTerminal`], for the panic hook.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input passes every key as it is typed until this is dropped.
#[derive(Debug)]
pub struct RawTerminal(());

impl RawTerminal {
    /// Switches the terminal that standard input is.
    ///
    /// # Errors
    /// It is none.
    pub fn new() -> Result<Self> {
        let saved = tcgetattr(io::stdin()).context("the terminal's settings")?;
        let mut raw = saved.clone();
        // Without ISIG no key ends us before the terminal is as it was. Without OPOST what the
        // console prints stays as it is; on a terminal its lines end in CR LF.
        raw.output_modes &= !OutputModes::OPOST;
        raw.local_modes &=
            !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN | LocalModes::ISIG);
        raw.input_modes &=
            !(InputModes::IXON | InputModes::ICRNL | InputModes::INLCR | InputModes::ISTRIP);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        restore_on_panic();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).context("the terminal's settings")?;
        Ok(Self(()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was found.
fn restore() {
    if let Some(saved) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // If it fails the terminal has gone, and there is nothing to restore.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &saved);
    }
}

/// Before the panic is reported, and before an abort.
fn restore_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        restore();
        report(panic);
    }));
}
