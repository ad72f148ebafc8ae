//! Transient failures of KVM_RUN.

use std::time::Duration;
use std::{io, thread};

/// How often in a row KVM_RUN may fail, and the pause between.
const MAX_IN_A_ROW: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// KVM_RUN fails with EAGAIN where the kernel lacks something for the moment: a thread of its own,
/// for example, where the user may have no more of them. Without a limit the loop would retry for
/// ever.
#[derive(Debug, Default)]
pub struct Failures {
    in_a_row: u32,
}

impl Failures {
    /// KVM_RUN succeeded.
    #[inline]
    pub fn end(&mut self) {
        self.in_a_row = 0;
    }

    /// KVM_RUN returned with `errno`, EINTR or EAGAIN.
    ///
    /// # Errors
    /// EAGAIN has come too often in a row.
    pub fn count(&mut self, errno: i32) -> io::Result<()> {
        if errno != libc::EAGAIN {
            self.end();
            return Ok(());
        }
        self.in_a_row += 1;
        if self.in_a_row > MAX_IN_A_ROW {
            return Err(io::Error::from_raw_os_error(errno));
        }
        thread::sleep(PAUSE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_in_a_row_end_in_an_error() {
        let mut failures = Failures::default();
        for _ in 0..2 {
            for _ in 0..MAX_IN_A_ROW {
                assert!(failures.count(libc::EAGAIN).is_ok());
            }
            assert!(failures.count(libc::EINTR).is_ok());
        }
        for _ in 0..MAX_IN_A_ROW {
            assert!(failures.count(libc::EAGAIN).is_ok());
        }
        let error = failures.count(libc::EAGAIN).expect_err("they are too many");
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    }
}
