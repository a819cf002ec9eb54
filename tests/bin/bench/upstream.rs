//! `bench upstream`: a server that costs next to nothing, as a process of its own. A request that
//! names a size gets a static answer of that size; all others are relayed to a real Chroma server,
//! so that Achromat finds behind it all that it needs for its own bookkeeping.

use std::{collections::BTreeMap, io, net::Ipv4Addr, sync::Arc};

use achromat_tests::{chaos::message::Message, ends::Ends};
use clap::{ArgMatches, Command};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    bare::{port_flag, start_own},
    figures::value,
    load::{framing, header},
};

/// The header by which a request says how large its answer is to be.
pub(super) const SIZE: &str = "x-answer-bytes";

/// The sizes that there are: a record, a page of them, and very many.
pub(super) const SIZES: [usize; 3] = [1024, 64 * 1024, 1024 * 1024];

pub(super) fn command() -> Command {
    Command::new("upstream")
        .hide(true)
        .about("Started by `bench proxying`: static answers, and a real Chroma server for the rest")
        .arg(port_flag("port", "Where it listens"))
        .arg(port_flag("chroma", "Where the rest goes"))
}

/// Starts one; returns its port.
pub(super) fn start(chroma: u16) -> (u16, Ends) {
    start_own("upstream", "--chroma", chroma)
}

/// Serves on one thread until it is killed.
pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let port: u16 = value(matches, "port")?;
    let chroma = value(matches, "chroma")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let answers = Arc::new(SIZES.map(|size| (size, answer(size))).into());
        loop {
            let (client, _) = listener.accept().await?;
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                // A connection that breaks is its client's trouble, who is told by that.
                let _ended = serve(client, chroma, &answers).await;
            });
        }
    })
}

/// Answers by their sizes.
type Answers = BTreeMap<usize, Vec<u8>>;

/// A whole answer whose body has so many bytes: it looks like one to a `get`.
fn answer(size: usize) -> Vec<u8> {
    const OPEN: &str = "{\"ids\":[\"";
    const CLOSE: &str = "\"]}";
    let id = "x".repeat(size - OPEN.len() - CLOSE.len());
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n{OPEN}{id}{CLOSE}"
    )
    .into_bytes()
}

/// Answers one client's requests, one after the other.
async fn serve(mut client: TcpStream, chroma: u16, answers: &Answers) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut server = None;
    loop {
        if buffer.is_empty() && client.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        match asked(&buffer).and_then(|(size, length)| Some((answers.get(&size)?, length))) {
            Some((answer, length)) => {
                while buffer.len() < length {
                    read_more(&mut client, &mut buffer).await?;
                }
                buffer.drain(..length);
                client.write_all(answer).await?;
            }
            None => relay(&mut client, &mut buffer, &mut server, chroma).await?,
        }
    }
}

/// The size that a request asks for, and the request's own length; none when it is to be relayed.
/// A head that has not come whole is relayed as well: those of the benchmark come in one piece.
fn asked(bytes: &[u8]) -> Option<(usize, usize)> {
    let (end, length) = framing(bytes)?;
    let size = header(&bytes[..end], SIZE.as_bytes())?;
    Some((std::str::from_utf8(size).ok()?.parse().ok()?, end + length))
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Passes on one request and its answer, over the one connection that belongs to the client's.
async fn relay(
    client: &mut TcpStream,
    buffer: &mut Vec<u8>,
    server: &mut Option<TcpStream>,
    chroma: u16,
) -> io::Result<()> {
    if server.is_none() {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, chroma)).await?;
        stream.set_nodelay(true)?;
        *server = Some(stream);
    }
    let Some(server) = server else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    pass(client, server, buffer, Message::request()).await?;
    let mut answered = Vec::new();
    loop {
        let answer = pass(server, client, &mut answered, Message::answer()).await?;
        if !answer.is_informational() {
            return Ok(());
        }
    }
}

/// Passes on one message, of which some may be in the buffer; what is behind it stays there.
async fn pass(
    from: &mut TcpStream,
    to: &mut TcpStream,
    buffer: &mut Vec<u8>,
    mut message: Message,
) -> io::Result<Message> {
    loop {
        let used = message.feed(buffer);
        to.write_all(&buffer[..used]).await?;
        buffer.drain(..used);
        if message.is_whole() {
            return Ok(message);
        }
        read_more(from, buffer).await?;
    }
}
