//! A cpio archive in the format that the kernel unpacks: newc (Linux, Documentation/driver-api/
//! early-userspace/buffer-format.rst).
//!
//! Each member is a header of 14 hexadecimal fields, the name with its NUL, and the data; both are
//! padded to four bytes. Owner, time and device are 0 in all, so that the same files make the same
//! archive. Written here rather than with a crate: it is one header.

/// The kinds of files, in the upper bits of their mode.
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
/// What the last member is called.
const TRAILER: &str = "TRAILER!!!";

/// An archive that grows.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    members: u32,
}

impl Archive {
    /// Adds a folder; those above it come before.
    pub fn folder(&mut self, name: &str) {
        self.member(name, FOLDER | 0o755, &[], (0, 0));
    }

    /// Adds a file that is executable for all.
    pub fn program(&mut self, name: &str, data: &[u8]) {
        self.member(name, FILE | 0o755, data, (0, 0));
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, data: &[u8]) {
        self.member(name, FILE | 0o644, data, (0, 0));
    }

    /// Adds a symbolic link to `to`.
    pub fn link(&mut self, name: &str, to: &str) {
        self.member(name, LINK | 0o777, to.as_bytes(), (0, 0));
    }

    /// Adds a character device.
    pub fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.member(name, CHARACTER_DEVICE | 0o600, &[], (major, minor));
    }

    /// The archive, ended.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.member(TRAILER, 0, &[], (0, 0));
        self.bytes
    }

    fn member(&mut self, name: &str, mode: u32, data: &[u8], (major, minor): (u32, u32)) {
        self.members += 1;
        let size = u32::try_from(data.len()).expect("what goes into an initramfs is below 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("so are names");
        // Number, mode, owner, group, links, time, size, device it lies on, device it is.
        let fields = [self.members, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode, data, minor number.
    type Member = (String, u32, Vec<u8>, u32);

    fn read(archive: &[u8]) -> Vec<Member> {
        let mut members = Vec::new();
        let mut at = 0;
        while at < archive.len() {
            let header = std::str::from_utf8(&archive[at..at + 110]).expect("it is text");
            assert_eq!(&header[..6], "070701");
            let field = |n: usize| {
                let digits = &header[6 + 8 * n..14 + 8 * n];
                u32::from_str_radix(digits, 16).expect("a number")
            };
            let (size, name_size) = (field(6) as usize, field(11) as usize);
            let name = &archive[at + 110..at + 110 + name_size - 1];
            let data_at = (at + 110 + name_size).next_multiple_of(4);
            let data = archive[data_at..data_at + size].to_vec();
            let name = String::from_utf8_lossy(name).into_owned();
            members.push((name, field(1), data, field(10)));
            at = (data_at + size).next_multiple_of(4);
        }
        members
    }

    fn archive() -> Vec<u8> {
        let mut archive = Archive::default();
        archive.folder("bin");
        for len in 0..5 {
            archive.program(&"x".repeat(len + 1), &[7; 5][..len]);
        }
        archive.link("bin/sh", "busybox");
        archive.device("console", 5, 1);
        archive.finish()
    }

    #[test]
    fn what_was_put_in_is_read_again() {
        let members = read(&archive());
        assert_eq!(members[0], ("bin".into(), 0o040_755, vec![], 0));
        for (len, member) in members[1..6].iter().enumerate() {
            assert_eq!(*member, ("x".repeat(len + 1), 0o100_755, vec![7; len], 0));
        }
        assert_eq!(members[6], ("bin/sh".into(), 0o120_777, b"busybox".to_vec(), 0));
        assert_eq!(members[7], ("console".into(), 0o020_600, vec![], 1));
        assert_eq!(members[8].0, TRAILER);
        assert_eq!(members.len(), 9);
    }

    #[test]
    fn the_same_files_make_the_same_archive() {
        assert_eq!(archive(), archive());
    }
}
