//! Answers as they come over the wire.

/// The statuses of answers that follow each other.
pub fn statuses(answers: &str) -> Vec<u16> {
    let lines = answers.split("HTTP/1.").skip(1);
    // An error may name versions too.
    let status = |line: &str| line.get(2..5)?.parse().ok();
    lines.filter_map(status).collect()
}
