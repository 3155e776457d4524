//! What other sites in a browser may not do: have it read the page under their name, or send forms that change something.

use std::net::IpAddr;

use super::Web;
use super::request::{Request, field};
use crate::endpoint::Endpoint;

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

/// Whether the page may answer to the name that a client on this host has asked. Another site can have its name stand for this host (DNS
/// rebinding); then its scripts may read what it answers. So without an access list it answers to addresses, to localhost and to the
/// names that `web` gives it. With one, its administrator has said who may read it.
pub fn is_own_name(host: Option<&str>, web: &Web) -> bool {
    let (Some(host), None) = (host, web.acl) else { return true };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_configured = |(_, place): &(String, Endpoint)| {
        place.host().is_some_and(|host| host.name().trim_end_matches('.').eq_ignore_ascii_case(&name))
    };
    name.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || web.at.iter().flat_map(|at| at.places()).any(is_configured)
}

/// Compares in a time that does not tell where the difference is.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AclId;
    use crate::policy::listeners::Listeners;
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

    #[test]
    fn without_a_list_only_its_own_names_are_answered() {
        let at = Listeners::parse_words(["lb.example:8090", "[::1]:8090", "/run/web"]).unwrap();
        let local = Web { at: Some(at), ..Web::default() };
        let listed = Web { acl: AclId::new(1), ..local.clone() };
        for (host, expected) in [
            (None, true),
            (Some("127.0.0.1:8090"), true),
            (Some("192.0.2.1"), true),
            (Some("[::1]:8090"), true),
            (Some("localhost:8090"), true),
            (Some("LOCALHOST."), true),
            (Some("pen.localhost"), true),
            (Some("LB.example:8090"), true),
            (Some("evil.example:8090"), false),
            (Some("evil.localhost.example"), false),
            (Some("localhost.evil.example"), false),
            (Some("127.0.0.1.evil.example"), false),
            (Some("[evil"), false),
            (Some(""), false),
        ] {
            assert_eq!(is_own_name(host, &local), expected, "{host:?}");
            assert!(is_own_name(host, &listed), "{host:?}");
        }
    }
}
