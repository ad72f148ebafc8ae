//! The entropy device (5.4).

use super::driver::{DATA, Driver, TABLE, WRITE};
use crate::virtio::Device;
use crate::virtio::entropy::Entropy;

#[test]
fn buffers_are_filled_up_to_a_page_and_not_beyond() {
    let mut driver = Driver::start(Device::Entropy(Entropy::new()), 8, 0);
    for (bytes, given) in [(1, 1), (100, 100), (4096, 4096), (5000, 4096)] {
        driver.describe(TABLE, 3, (DATA, bytes, WRITE, 0));
        driver.offer(3);
        let Device::Entropy(entropy) = &mut driver.device else { unreachable!("it is one") };
        let mut next = 0_u8;
        let has_served = entropy.serve(&driver.ram, |to| {
            for byte in to {
                next = next.wrapping_add(1);
                *byte = next;
            }
        });
        assert!(has_served);
        assert_eq!(driver.returned(), Some((3, given)));
        let last = driver.ram.bytes(DATA + u64::from(given) - 1, 2);
        assert_eq!(last, [given as u8, 0]);
        driver.ram.put(DATA, &[0; 5000]);
    }
    let Device::Entropy(entropy) = &driver.device else { unreachable!("it is one") };
    assert_eq!(entropy.given_bytes(), 1 + 100 + 4096 + 4096);
}

#[test]
fn a_chain_without_a_buffer_to_fill_is_returned_empty() {
    let mut driver = Driver::start(Device::Entropy(Entropy::new()), 8, 0);
    driver.describe(TABLE, 0, (DATA, 16, 0, 0));
    driver.offer(0);
    let Device::Entropy(entropy) = &mut driver.device else { unreachable!("it is one") };
    assert!(entropy.serve(&driver.ram, |_| unreachable!("nothing is to be filled")));
    assert_eq!(driver.returned(), Some((0, 0)));
}
