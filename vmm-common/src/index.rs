//! Which VM, which vCPU, which serial port: indices that cannot be taken for one another.
//!
//! A list with an element for each VM is indexed by [`VmIndex`], one with an element for each vCPU
//! of the core by [`VcpuIndex`], and one with an element for each serial port by [`Com`].

use core::ops::{Index, IndexMut};

/// A VM, by its position in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmIndex(pub usize);

/// A vCPU, by its position among all that share the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VcpuIndex(pub usize);

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
    /// Its VM: each has one vCPU.
    #[must_use]
    pub const fn vm(self) -> VmIndex {
        VmIndex(self.0)
    }
}

impl VmIndex {
    /// Its vCPU, of which it has one.
    #[must_use]
    pub const fn vcpu(self) -> VcpuIndex {
        VcpuIndex(self.0)
    }

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
indexes!(VcpuIndex, |vcpu: VcpuIndex| vcpu.0, alloc::vec::Vec<T>, [T]);
indexes!(Com, |com: Com| com as usize, [T; Com::ALL.len()]);
