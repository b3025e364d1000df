//! An address to listen on, as it is written.

use std::net::SocketAddr;

use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

pub(super) const ADDRESS_FORM: &str = r"^(localhost|[0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$";

pub(super) const ADDRESS_HELP: &str = "write 127.0.0.1:8080, or 0.0.0.0:8080 for all addresses of this machine";

/// Reads an address, or says what is wrong with it.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| format!("`{text}` is not an address to listen on, like 127.0.0.1:8080 or [::]:8080"))
}

/// Reads an address to listen on.
pub(super) fn read_address(reader: &Reader, node: &Node) -> Option<SocketAddr> {
    let text = reader.text(node)?;
    // A port alone, as other programs take it, or a host alone.
    let meant = [format!("127.0.0.1:{}", text.trim_start_matches(':')), format!("{text}:8080")];
    let meant = meant.into_iter().find(|meant| address(meant).is_ok()).map(|meant| format!("did you mean `{meant}`?"));
    let meant = meant.unwrap_or_else(|| ADDRESS_HELP.to_owned());
    address(text).map_err(|message| reader.error_with(node.id, message, meant)).ok()
}
