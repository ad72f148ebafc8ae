//! Which VM, which vCPU, which serial port: indices that cannot be taken for one another.
//!
//! A list with an element for each VM is indexed by [`VmIndex`], one with an element for each vCPU
//! of the core by [`VcpuIndex`], and one with an element for each serial port by [`Com`].

use core::ops::{Index, IndexMut};

/// A VM, by its position in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmIndex(pub usize);

/// A vCPU, by its VM and its number within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VcpuIndex {
    // One register holds all three, because every step of an exit hands it on.
    vm: u16,
    id: u16,
    /// Among all vCPUs of the core, VM by VM.
    position: u32,
}

/// A serial port of a machine.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Com {
    Com1,
    Com2,
    Com3,
    Com4,
}

impl VcpuIndex {
    /// The first vCPU of each VM, where the VMs have `counts` vCPUs.
    pub fn firsts(counts: impl Iterator<Item = u32>) -> impl Iterator<Item = Self> {
        counts.enumerate().scan(0, |next, (vm, count)| {
            let position = *next;
            *next += count;
            Some(Self { vm: vm as u16, id: 0, position })
        })
    }

    /// The vCPU of this VM, where every VM has one.
    #[must_use]
    pub const fn only_of(vm: VmIndex) -> Self {
        Self { vm: vm.0 as u16, id: 0, position: vm.0 as u32 }
    }

    /// Its VM.
    #[must_use]
    pub const fn vm(self) -> VmIndex {
        VmIndex(self.vm as usize)
    }

    /// Its number within the VM, which is the ID of its local APIC after reset.
    #[must_use]
    pub const fn id(self) -> u32 {
        self.id as u32
    }

    /// Its position among all vCPUs of the core.
    #[must_use]
    pub const fn position(self) -> usize {
        self.position as usize
    }

    /// The vCPU with this number of the same VM.
    #[must_use]
    pub const fn sibling(self, id: u32) -> Self {
        let position = self.position - self.id as u32 + id;
        Self { vm: self.vm, id: id as u16, position }
    }
}

impl VmIndex {
    /// The indices of `count` VMs.
    pub fn first(count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(Self)
    }
}

impl Com {
    /// In the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Com1, Self::Com2, Self::Com3, Self::Com4];

    /// 1 for COM1.
    #[must_use]
    pub const fn number(self) -> usize {
        self as usize + 1
    }
}

macro_rules! indexes {
    ($index:ty, $position:expr, $($list:ty),+) => {
        $(
            impl<T> Index<$index> for $list {
                type Output = T;

                #[inline]
                fn index(&self, index: $index) -> &T {
                    &self[$position(index)]
                }
            }

            impl<T> IndexMut<$index> for $list {
                #[inline]
                fn index_mut(&mut self, index: $index) -> &mut T {
                    &mut self[$position(index)]
                }
            }
        )+
    };
}

indexes!(VmIndex, |vm: VmIndex| vm.0, alloc::vec::Vec<T>, [T]);
indexes!(VcpuIndex, VcpuIndex::position, alloc::vec::Vec<T>, [T]);
indexes!(Com, |com: Com| com as usize, [T; Com::ALL.len()]);
