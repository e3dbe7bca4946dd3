//! The descriptor of a plugin: read from bytes, checked against what this host speaks.

use std::mem::offset_of;

use framex_abi::{ABI_MAJOR, ABI_MINOR, FLAG_CONTAINS_PANICS, MAGIC, PluginDescriptor, text_of};

use crate::base::is_plugin_name;

/// The description of a plugin, from its descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SDK and compiler, for people.
    pub built_with: String,
    /// Major number of the ABI that it was built against.
    pub abi_major: u16,
    /// Minor number of the ABI that it was built against.
    pub abi_minor: u16,
}

impl Description {
    /// Reads and checks a descriptor; an error completes the sentence "plugin file X ...".
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        if field(bytes, offset_of!(PluginDescriptor, magic)) != MAGIC {
            return Err(
                "has a descriptor that does not begin with FXPLUGIN: it was built for something else"
                    .to_owned(),
            );
        }
        let abi_major = u16::from_ne_bytes(field(bytes, offset_of!(PluginDescriptor, abi_major)));
        let abi_minor = u16::from_ne_bytes(field(bytes, offset_of!(PluginDescriptor, abi_minor)));
        check_version((abi_major, abi_minor), (ABI_MAJOR, ABI_MINOR))?;
        let size = u32::from_ne_bytes(field(bytes, offset_of!(PluginDescriptor, struct_size)));
        let needed = size_of::<PluginDescriptor>();
        if (size as usize) < needed {
            return Err(format!(
                "has a descriptor of {size} bytes, ABI {ABI_MAJOR}.{abi_minor} has {needed}"
            ));
        }
        let flags = u64::from_ne_bytes(field(bytes, offset_of!(PluginDescriptor, flags)));
        if flags & FLAG_CONTAINS_PANICS == 0 {
            return Err(
                "does not contain its panics, so one would end the host: build it with panic = \"unwind\""
                    .to_owned(),
            );
        }
        let text = |field: &[u8]| text_of(field).unwrap_or_default().to_owned();
        let description = Self {
            name: text(&field::<64>(bytes, offset_of!(PluginDescriptor, name))),
            version: text(&field::<32>(bytes, offset_of!(PluginDescriptor, version))),
            built_with: text(&field::<64>(bytes, offset_of!(PluginDescriptor, built_with))),
            abi_major,
            abi_minor,
        };
        if description.name == "proxy" {
            return Err(
                "holds a plugin named `proxy`, which is the host's own section of the config: rename it"
                    .to_owned(),
            );
        }
        if !is_plugin_name(&description.name) {
            return Err("has a descriptor whose name is not 1 to 63 characters of a-z 0-9 _ -".to_owned());
        }
        // These texts are shown on terminals, also for files that are not trusted.
        let shown = [&description.version, &description.built_with];
        if shown.into_iter().any(|text| text.chars().any(char::is_control)) {
            return Err("has a descriptor with control characters in what is shown of it".to_owned());
        }
        Ok(description)
    }
}

/// Returns the bytes of a field, or zeros where the descriptor ends before it does.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// The same major number, and a minor number that the host has or has had.
fn check_version(plugin: (u16, u16), host: (u16, u16)) -> Result<(), String> {
    if plugin.0 == host.0 && plugin.1 <= host.1 {
        return Ok(());
    }
    let advice = if plugin > host {
        "use a newer host, or build it with an older SDK"
    } else {
        "build it with a newer SDK"
    };
    Err(format!(
        "is built for ABI {}.{}, this host needs {}.{} at most and {}.0 at least: {advice}",
        plugin.0, plugin.1, host.0, host.1, host.0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plugin: (u16, u16), host: (u16, u16), expected: Result<(), &str>) {
        match (check_version(plugin, host), expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.contains(part), "{error} lacks {part}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn older_minor_fits_and_nothing_else() {
        check((1, 0), (1, 0), Ok(()));
        check((1, 1), (1, 3), Ok(()));
        check((1, 4), (1, 3), Err("is built for ABI 1.4, this host needs 1.3 at most"));
        check((2, 0), (1, 3), Err("use a newer host"));
        check((0, 9), (1, 3), Err("build it with a newer SDK"));
    }

    #[test]
    fn junk_is_refused() {
        assert!(Description::read(&[]).unwrap_err().contains("FXPLUGIN"));
        let mut bytes = [0; size_of::<PluginDescriptor>()];
        bytes[..8].copy_from_slice(&MAGIC);
        assert!(Description::read(&bytes).unwrap_err().contains("ABI 0.0"));
    }

    #[test]
    fn what_is_shown_has_no_control_characters() {
        let mut bytes = [0; size_of::<PluginDescriptor>()];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(offset_of!(PluginDescriptor, magic), &MAGIC);
        put(offset_of!(PluginDescriptor, struct_size), &(size_of::<PluginDescriptor>() as u32).to_ne_bytes());
        put(offset_of!(PluginDescriptor, abi_major), &ABI_MAJOR.to_ne_bytes());
        put(offset_of!(PluginDescriptor, flags), &FLAG_CONTAINS_PANICS.to_ne_bytes());
        put(offset_of!(PluginDescriptor, name), b"demo");
        put(offset_of!(PluginDescriptor, version), "1.0 \u{e4}".as_bytes());
        assert_eq!(Description::read(&bytes).unwrap().version, "1.0 \u{e4}");
        for at in [offset_of!(PluginDescriptor, version), offset_of!(PluginDescriptor, built_with)] {
            let mut bytes = bytes;
            bytes[at..at + 4].copy_from_slice(b"\x1b[2J");
            assert!(Description::read(&bytes).unwrap_err().contains("control characters"));
        }
    }
}
