//! Whatever comes from the network or stands in a file is understood or refused: `PROPTEST_CASES` says how many inputs are tried.

use pen::policy::web::guard::is_own;
use pen::policy::web::password::Passwords;
use pen::policy::web::request::{LONGEST_BODY, LONGEST_HEAD, Progress, Request, fields, read};
use pen::policy::web::route::Route;
use pen::policy::web::status::phrase;
use proptest::prelude::*;

/// Parts of requests, so that most inputs get further than the first line.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "GET ",
        "HEAD ",
        "POST ",
        "/",
        "/servers/",
        "/explain?client=",
        "/api/clients?since=",
        "http://x/",
        "?from=",
        "&",
        "=",
        "%",
        "%0d%0a",
        "%00",
        "%ff",
        "+",
        "..",
        " HTTP/1.1",
        " HTTP/1.0",
        " HTTP/9.9",
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "Host: localhost\r\n",
        "Content-Length: ",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Origin: http://x\r\n",
        "Sec-Fetch-Site: same-origin\r\n",
        "Authorization: Basic ",
        "18446744073709551616",
        "-1",
        "0",
        "7",
        ": ",
        " ",
        "\t",
        "\0",
        "token=",
    ]);
    prop_oneof![
        6 => words.prop_map(|word: &str| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (any::<u8>(), 0usize..3000).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

/// A request that makes sense but for these changes of single bytes.
fn almost() -> impl Strategy<Value = Vec<u8>> {
    let whole = "POST /servers/1?clients=5&sessions=7 HTTP/1.1\r\nHost: localhost:80\r\nOrigin: http://pen:80\r\nSec-Fetch-Site: \
                 same-origin\r\nAuthorization: Basic YTpi\r\nContent-Length: 20\r\n\r\n";
    prop::collection::vec((0..whole.len(), any::<u8>()), 0..4).prop_map(move |changes| {
        let mut bytes = whole.as_bytes().to_vec();
        changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
        bytes
    })
}

fn holds(request: &Request, length: usize, bytes: &[u8]) -> Result<(), TestCaseError> {
    prop_assert!(length <= LONGEST_HEAD && length <= bytes.len() && request.length <= LONGEST_BODY);
    // What is decoded is no longer than what has come.
    let decoded: usize = request.query.iter().map(|(name, value)| name.len() + value.len()).sum();
    prop_assert!(request.path.len() + decoded <= length);
    prop_assert!(request.host.is_some() || !request.chunks);
    match Route::find(request) {
        Ok(_) => {}
        Err(status) => prop_assert!([400, 404, 405].contains(&status), "{}", status),
    }
    prop_assert!(!is_own(request, &request.query, "no such token"));
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_part_of_one_or_wrong(
        bytes in prop_oneof![prop::collection::vec(part(), 0..16).prop_map(|parts| parts.concat()), almost()],
    ) {
        match read(&bytes) {
            Progress::Whole(request, length) => {
                holds(&request, length, &bytes)?;
                // What follows it makes no difference, and without its end it is none.
                prop_assert_eq!(read(&[&bytes[..length], b"\0\xff"].concat()), Progress::Whole(request, length));
                prop_assert!(!matches!(read(&bytes[..length - 1]), Progress::Whole(_, found) if found == length));
            }
            Progress::Partial => prop_assert!(bytes.len() < LONGEST_HEAD),
            Progress::Wrong(status) => {
                prop_assert!([400, 411, 413, 431, 505].contains(&status), "{}", status);
                prop_assert!(!phrase(status).is_empty());
            }
        }
    }

    #[test]
    fn any_text_is_a_form_or_none(text in "([a-z=&%+]|%[0-9a-fA-F]{0,2}|\\PC|\0|\r\n){0,60}") {
        if let Some(all) = fields(&text) {
            let length: usize = all.iter().map(|(name, value)| name.len() + value.len()).sum();
            prop_assert!(length <= text.len());
            prop_assert!(all.len() <= text.matches('&').count() + 1);
        }
    }

    #[test]
    fn any_text_is_a_file_of_passwords_or_none_and_lets_nobody_in(
        text in "(([a-z:$./]|\\$2[yab]\\$[0-9]{2}\\$[./A-Za-z0-9]{52,54}|#|\n|\\PC){0,8}\n){0,4}",
        authorization in "(Basic |basic |Bearer )?[A-Za-z0-9+/=]{0,30}",
    ) {
        match Passwords::parse(&text) {
            // Hashes of a low cost only, so that it does not take for ever.
            Ok(passwords) if !["$05", "$06", "$07", "$08", "$09", "$1"].iter().any(|cost| text.contains(cost)) => {
                prop_assert_eq!(passwords.name(&authorization), None);
            }
            Ok(_) => {}
            Err(why) => prop_assert!(!why.is_empty() && !why.contains('$'), "{}", why),
        }
    }
}
