//! The links of interfaces, as their drivers see them (Virtio 1.2, 5.1.4.2): up while another end
//! of the network can receive.
//!
//! An interface can receive once its driver has given buffers since it started; an uplink, until it
//! is gone. Drivers give buffers with their links down, too (Linux's when the interface is brought
//! up), so no two wait for each other. A driver that sends all the same, because it does not look
//! at the status, is served as always.
//! Each reset changes the links of others; a guest that resets in a loop interrupts them at most
//! once in each of its turns, as the interrupt stays until they acknowledge it.

use super::{Network, Ports, Receiver};
use crate::Instant;
use crate::memory::GuestMemory;
use crate::system::System;
use crate::vm::Vm;

impl Receiver {
    /// Its driver has given buffers since it started.
    pub(super) const fn is_up(self) -> bool {
        match self {
            Self::NotUp => false,
            Self::Up | Self::Stuck => true,
        }
    }
}

impl<M: GuestMemory> Vm<M> {
    /// What a driver that starts does about buffers: it may have given some before (3.1.1).
    pub(super) fn first_receiver(&mut self, device: usize) -> Receiver {
        let Self { machine, memory, .. } = self;
        match machine.nic_mut(device).is_some_and(|net| net.has_buffers(memory)) {
            true => Receiver::Up,
            false => Receiver::NotUp,
        }
    }
}

impl Network {
    /// The ports whose ends can receive.
    fn receivers<M>(&self, vms: &mut [Vm<M>]) -> Ports {
        let ports = self.ports.iter().enumerate();
        let receivers = ports.filter(|(_, port)| {
            let can_receive = port.nic().is_none_or(|(vm, device)| {
                let net = vms[vm].machine.nic_mut(device);
                port.receiver.is_up() && net.is_some_and(|net| net.is_receiver())
            });
            !port.is_gone && can_receive
        });
        receivers.fold(0, |receivers, (number, _)| receivers | 1 << number)
    }
}

impl<M: GuestMemory> System<M> {
    /// Takes down all links but those at an uplink: no driver has started.
    pub(in crate::system) fn check_links(&mut self, now: Instant) {
        (0..self.networks.all.len()).for_each(|network| self.check_link(network, now));
    }

    /// Takes the links at a network up or down, after one of its ends has come or gone.
    pub(super) fn check_link(&mut self, network: usize, now: Instant) {
        let of_network = &self.networks.all[network];
        let receivers = of_network.receivers(&mut self.vms);
        let mut changed: Ports = 0;
        for (number, port) in of_network.ports.iter().enumerate() {
            let Some((vm, device)) = port.nic() else { continue };
            let net = self.vms[vm].machine.nic_mut(device);
            let has_peer = receivers & !(1 << number) != 0;
            if net.is_some_and(|net| net.set_peer(has_peer)) {
                changed |= 1 << number;
            }
        }
        self.publish_frames(network, (changed, 0), None, now);
    }
}
