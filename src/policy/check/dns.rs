//! Questions to a name server and its answers (RFC 1035 section 4).

use super::finding::{Finding, Outcome};

/// The bytes of the head of a message.
const HEAD: usize = 12;

/// Appends a question for an IPv4 address of that name.
pub(super) fn question(name: &str, id: u16, question: &mut Vec<u8>) {
    question.extend(id.to_be_bytes());
    // Recursion desired; one question.
    question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for part in name.split('.').filter(|part| !part.is_empty()) {
        question.push(part.len() as u8);
        question.extend_from_slice(part.as_bytes());
    }
    // The root; type A, class IN.
    question.extend([0, 0, 1, 0, 1]);
}

/// Reads an answer. `None`: it is not the one to our question.
pub(super) fn answer(name: &str, id: u16, bytes: &[u8]) -> Option<Outcome> {
    let head: &[u8; HEAD] = bytes.first_chunk()?;
    let is_answer = head[..2] == id.to_be_bytes() && head[2] & 0xf8 == 0x80;
    if !is_answer {
        return None;
    }
    match head[3] & 0x0f {
        // An answer to another question would be one that was forged.
        0 if !repeats(name, &bytes[HEAD..]) => None,
        0 => {
            let records = u16::from_be_bytes([head[6], head[7]]);
            Some(Outcome { succeeded: records > 0, finding: Finding::Records(records) })
        }
        // Some of these come without the question.
        code => Some(Outcome::failure(Finding::Rcode(code))),
    }
}

/// Whether the question is in the answer. Servers may change its letters to capitals and back.
fn repeats(name: &str, mut bytes: &[u8]) -> bool {
    for part in name.split('.').filter(|part| !part.is_empty()) {
        let Some((length, rest)) = bytes.split_first() else { return false };
        let Some((own, rest)) = rest.split_at_checked(usize::from(*length)) else { return false };
        if !own.eq_ignore_ascii_case(part.as_bytes()) {
            return false;
        }
        bytes = rest;
    }
    bytes.starts_with(&[0, 0, 1, 0, 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: u8, records: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        question("www.Example", 7, &mut bytes);
        (bytes[2], bytes[3], bytes[7]) = (0x81, 0x80 | code, records);
        bytes
    }

    #[test]
    fn an_answer_to_the_question_is_judged_and_others_are_passed_over() {
        let judge = |bytes: &[u8]| answer("www.example.", 7, bytes);
        assert_eq!(judge(&answered(0, 2)), Some(Outcome::success(Finding::Records(2))));
        assert_eq!(judge(&answered(0, 0)), Some(Outcome::failure(Finding::Records(0))));
        assert_eq!(judge(&answered(3, 0)), Some(Outcome::failure(Finding::Rcode(3))));
        assert_eq!(judge(&answered(5, 0)[..HEAD]), Some(Outcome::failure(Finding::Rcode(5))));
        assert_eq!(answer("www.example", 8, &answered(0, 1)), None);
        assert_eq!(answer("www.example.org", 7, &answered(0, 1)), None);
        assert_eq!(answer("ftp.example", 7, &answered(0, 1)), None);
        let mut question = answered(0, 1);
        question[2] = 1;
        assert_eq!(judge(&question), None);
        for length in 0..answered(0, 1).len() {
            assert_eq!(judge(&answered(0, 1)[..length]), None);
        }
    }
}
