//! Whether a form that changes something comes from pen's own page.

use super::request::{Request, field};

/// The name of the field that has the token.
pub const TOKEN: &str = "token";

/// Whether the request comes from the page itself, as browsers tell it, and has the token that only the page shows. Programs that are
/// no browsers tell no origin, and have the token if they have read the page.
pub fn is_own(request: &Request, form: &[(String, String)], token: &str) -> bool {
    let same_site = request.site.as_deref().is_none_or(|site| site == "same-origin");
    let same_origin = request.origin.as_deref().is_none_or(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host == request.host.as_deref()
    });
    same_site && same_origin && field(form, TOKEN).is_some_and(|given| is_same(given.as_bytes(), token.as_bytes()))
}

/// Compares in a time that does not tell where the difference is.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::web::request::{Progress, read};

    #[test]
    fn only_a_form_of_the_page_itself_has_an_effect() {
        let own = [(String::from("token"), String::from("1234"))];
        let other = [(String::from("token"), String::from("1235"))];
        for (lines, form, expected) in [
            ("", &own[..], true),
            ("", &other, false),
            ("", &[], false),
            ("Origin: http://pen:80\r\n", &own, true),
            ("Origin: http://evil\r\n", &own, false),
            ("Origin: http://pen\r\n", &own, false),
            ("Origin: null\r\n", &own, false),
            ("Sec-Fetch-Site: same-origin\r\n", &own, true),
            ("Sec-Fetch-Site: cross-site\r\n", &own, false),
            ("Sec-Fetch-Site: same-site\r\nOrigin: http://pen:80\r\n", &own, false),
        ] {
            let head = format!("POST /servers/0 HTTP/1.1\r\nHost: pen:80\r\n{lines}\r\n");
            let Progress::Whole(request, _) = read(head.as_bytes()) else { panic!("{head}") };
            assert_eq!(is_own(&request, form, "1234"), expected, "{lines}");
        }
    }
}
