//! What strangers could read: secrets in the file.

use crate::yaml::raw::NodeId;
use crate::yaml::reader::Reader;

/// Tells of secrets that stand in the file as they are. Files are copied, mailed and committed.
pub(in crate::config) fn advise_of_plain_secrets(reader: &Reader, secrets: impl IntoIterator<Item = NodeId>) {
    for at in secrets {
        reader.secret_warning(
            at,
            "this secret stands in the file as it is",
            "keep it in an environment variable (\"${NAME}\"), a file (\"${file:PATH}\") or a systemd credential (\"${credential:NAME}\")"
                .to_owned(),
        );
    }
}
