//! The chunked coding: how the network cuts a body does not matter, and what is decoded can be
//! coded again.

use mcp_tunnel::httpd::chunked::Decoder;

const LIMIT: usize = 200;

pub fn check(input: &[u8]) {
    let (recipe, bytes) = super::recipe_and_bytes(input);
    let whole = decode(&[bytes]);
    assert_eq!(decode(&super::pieces(bytes, recipe)), whole);
    let Ok((body, used, done)) = whole else { return };
    assert!(body.len() <= LIMIT && used <= bytes.len());
    assert!(done || used == bytes.len());
    if done && !body.is_empty() {
        let again = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
        assert_eq!(decode(&[&again]), Ok((body, again.len(), true)));
    }
}

fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), u16> {
    let mut decoder = Decoder::default();
    let (mut body, mut used) = (Vec::new(), 0);
    for piece in pieces {
        used += decoder.push(piece, &mut body, LIMIT).map_err(|refusal| refusal.status)?;
    }
    Ok((body, used, decoder.is_done()))
}
