//! When the VMs' text screens are looked at, and what is typed to their keyboards.
//!
//! A look reads 4000 bytes of RAM. Screens are looked at between turns, seldom, and when the guest
//! moves the cursor out of its line: before the next line scrolls this one away. A screen that is
//! not shown is looked at, more seldom, until something is on it, which the console then says.

use super::System;
use crate::Instant;
use crate::index::VmIndex;
use crate::memory::GuestMemory;
use crate::plan::Plan;
use crate::screen::{MAX_TEXT_BYTES, Moment, Picture, ROWS, Screen};
use crate::seam::Host;
use alloc::string::String;
use alloc::vec::Vec;

/// How often screens are looked at.
const LOOK_NS: u64 = 10_000_000;
/// How often a row is looked at of screens that are not shown: a whole screen at once would keep
/// the next VM waiting.
const WATCH_NS: u64 = 20_000_000;
/// A guest that ran for so long without changing a row has left it alone.
const LEFT_ALONE_NS: u64 = 10_000_000;

/// The screens of all VMs.
#[derive(Debug)]
pub(super) struct Screens {
    vms: Vec<VmScreen>,
    /// When to look next.
    due: Instant,
    /// The screen that is looked at.
    picture: Picture,
    /// What is new on it. It never grows: it has room for all that a look prints.
    text: String,
}

#[derive(Debug)]
struct VmScreen {
    /// None: it is not shown.
    shown: Option<Screen>,
    /// It is not shown, and it has been said that something is on it.
    has_said: bool,
    /// It is not shown: the row that is looked at next.
    next_row: usize,
    /// It has had a turn since the last look.
    has_run: bool,
    /// What it had run at the last look that found a change.
    ran_ns: u64,
}

impl Screens {
    pub(super) fn new(plan: &Plan) -> Self {
        let screen = |vm: &crate::plan::VmPlan| VmScreen {
            shown: vm.screen.is_shown.then(Screen::new),
            has_said: false,
            next_row: 0,
            has_run: false,
            ran_ns: 0,
        };
        Self {
            vms: plan.vms.iter().map(screen).collect(),
            due: Instant::ZERO,
            picture: Picture::new(),
            text: String::with_capacity(MAX_TEXT_BYTES),
        }
    }

    /// `vm` has a turn.
    #[inline]
    pub(super) fn has_run(&mut self, VmIndex(vm): VmIndex) {
        self.vms[vm].has_run = true;
    }

    /// An idle core waits no longer than until what has been written is to be looked at.
    pub(super) fn bound_idle(&self, until: Instant) -> Instant {
        if self.vms.iter().any(VmScreen::may_have_news) { until.min(self.due) } else { until }
    }
}

impl VmScreen {
    /// It is shown, and the guest has run since the last look, or left something to be printed.
    fn may_have_news(&self) -> bool {
        self.shown.as_ref().is_some_and(|screen| self.has_run || screen.is_pending())
    }
}

impl<M: GuestMemory> System<M> {
    /// Looks at the screens, if that is due.
    #[inline]
    pub(super) fn follow_screens<H: Host<M>>(&mut self, now: Instant, host: &mut H) {
        if now >= self.screens.due {
            self.look_at_screens(now, host);
        }
        if let Some(vm) = host.screen_wanted()
            && self.take_picture(vm)
        {
            host.whole_screen(vm, &self.screens.picture);
        }
    }

    #[inline(never)]
    fn look_at_screens<H: Host<M>>(&mut self, now: Instant, host: &mut H) {
        let mut next_ns = None;
        for vm in VmIndex::first(self.vms.len()) {
            if self.vms[vm].ending.is_some() {
                continue;
            }
            match self.screens.vms[vm.0] {
                VmScreen { shown: Some(_), .. } => {
                    if self.screens.vms[vm.0].may_have_news() {
                        self.look_at_screen(vm, false, host);
                    }
                    next_ns = Some(LOOK_NS);
                }
                VmScreen { has_said: false, .. } => {
                    self.watch_screen(vm, host);
                    next_ns = next_ns.or(Some(WATCH_NS));
                }
                VmScreen { .. } => {}
            }
        }
        self.screens.due = next_ns.map_or(Instant::FAR_FUTURE, |ns| now.after_ns(ns));
    }

    /// Prints what is new on the screen of a VM whose screen is shown.
    pub(super) fn look_at_screen<H: Host<M>>(
        &mut self,
        vm: VmIndex,
        has_left_line: bool,
        host: &mut H,
    ) {
        let is_halted = self.vcpus_of(vm).all(|vcpu| !self.scheduler.is_runnable(vcpu));
        let ran_ns = self.ledger.vms[vm].guest_ns;
        if !self.take_picture(vm) {
            return;
        }
        let Screens { vms, picture, text, .. } = &mut self.screens;
        let VmScreen { shown: Some(screen), has_run, ran_ns: before_ns, .. } = &mut vms[vm.0]
        else {
            return;
        };
        *has_run = false;
        let is_settled = is_halted || ran_ns.saturating_sub(*before_ns) >= LEFT_ALONE_NS;
        let moment = match (has_left_line, is_settled) {
            (true, _) => Moment::LineLeft,
            (false, true) => Moment::Settled,
            (false, false) => Moment::Any,
        };
        text.clear();
        if screen.look(picture, moment, text) {
            *before_ns = ran_ns;
        }
        if !text.is_empty() {
            host.screen_output(vm, text);
        }
    }

    /// Says once that a screen that is not shown has something on it.
    fn watch_screen<H: Host<M>>(&mut self, vm: VmIndex, host: &mut H) {
        let VmScreen { has_run, has_said, next_row, .. } = &mut self.screens.vms[vm.0];
        if !*has_run || *has_said {
            return;
        }
        let row = core::mem::replace(next_row, (*next_row + 1) % ROWS);
        *has_run = *next_row != 0;
        if crate::screen::has_text(&self.vms[vm].memory, row) {
            self.say_screen(vm, host);
        }
    }

    fn say_screen<H: Host<M>>(&mut self, vm: VmIndex, host: &mut H) {
        if self.take_picture(vm) && !self.screens.picture.is_blank() {
            self.screens.vms[vm.0].has_said = true;
            host.screen_is_not_shown(vm);
        }
    }

    /// The last look at the screen of a VM that ends.
    pub(super) fn finish_screen<H: Host<M>>(&mut self, vm: VmIndex, host: &mut H) {
        self.screens.vms[vm.0].has_run = true;
        let VmScreen { shown, has_said, .. } = &self.screens.vms[vm.0];
        match (shown, has_said) {
            (Some(_), _) => {}
            (None, false) => return self.say_screen(vm, host),
            (None, true) => return,
        }
        if !self.take_picture(vm) {
            return;
        }
        let Screens { vms, picture, text, .. } = &mut self.screens;
        text.clear();
        if let Some(screen) = &mut vms[vm.0].shown {
            screen.finish(picture, text);
        }
        if !text.is_empty() {
            host.screen_output(vm, text);
        }
    }

    /// Takes the screen as it stands; false if there is none.
    fn take_picture(&mut self, vm: VmIndex) -> bool {
        let vm = &self.vms[vm];
        let (start, cursor) = (vm.machine.screen_start(), vm.machine.cursor());
        self.screens.picture.take(&vm.memory, start, cursor)
    }

    /// Presses the keys that were typed to `vm`, if it has a keyboard.
    pub(super) fn feed_keyboard<H: Host<M>>(&mut self, vm: VmIndex, now: Instant, host: &mut H) {
        let mut has_fed = false;
        while self.vms[vm].machine.wants_key() {
            let byte = host.console_input(vm);
            has_fed |= byte.is_some();
            self.vms[vm].machine.type_byte(byte, now);
            if byte.is_none() {
                break;
            }
        }
        if has_fed {
            // A halted vCPU looks at the deadlines again: the first byte is on its way.
            for vcpu in self.vcpus_of(vm) {
                self.wake(vcpu, now);
            }
        }
    }
}
