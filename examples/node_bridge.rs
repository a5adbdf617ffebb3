//! A node script as a child: messages both ways, and a listening socket that it serves from then on.
//!
//! Run with `cargo run --features child_process --example node_bridge`; it ends by itself.

use std::error::Error;

use blacklight::child_process::{Channel, ForkOptions, SendHandle, Value, fork};
use blacklight::prelude::*;

/// What node runs: it says hello back, and answers on the server that it is given.
const SCRIPT: &str = "\
process.on('message', (message, server) => {
  if (!server) return process.send({ hello: message.hello, from: 'node ' + process.version });
  // A server that is open would keep node alive.
  server.on('connection', socket => { socket.end('served by node\\n'); server.close(); });
  process.send('serving');
});";

fn main() -> Result<(), Box<dyn Error>> {
    if std::process::Command::new("node").arg("--version").output().is_err() {
        println!("there is no node to talk to");
        return Ok(());
    }
    let lp = EventLoop::new()?;
    let mut command = Command::new("node");
    command.args(["-e", SCRIPT]);
    let (_process, channel) = fork(&lp, &command, ForkOptions::default(), |process, exit| {
        println!("node ({}) ended: {exit}", process.pid());
    })?;

    // Connections wait in the socket's queue until somebody accepts them: node will.
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut listener = Some(listener);
    channel.on_message(move |channel, message| {
        println!("node says {:?}", message.value);
        let outcome = match listener.take() {
            Some(listener) => {
                let server = SendHandle::from(listener);
                let told = |_: &Channel, written| println!("the server is on its way: {written:?}");
                channel.send_handle(&Value::from("serve this"), server, told).map(drop)
            }
            None => {
                request(channel, address);
                Ok(())
            }
        };
        if let Err(error) = outcome {
            println!("sending failed: {error}");
        }
    });
    channel.on_disconnect(|_| println!("disconnected"));
    channel.on_error(|_, error| println!("something is wrong: {error}"));
    channel.send(&Value::object([("hello", "from Rust")]))?;
    lp.run(RunMode::Default)?;
    Ok(())
}

/// Connects to the server that node has now, prints what it says, and lets node go.
fn request(channel: &Channel, address: std::net::SocketAddr) {
    let channel = channel.clone();
    let connected = Tcp::new(channel.event_loop()).and_then(|client| {
        client.connect(address, move |client, result| {
            let channel = channel.clone();
            let reading = result.and_then(|()| {
                client.read_start(move |client, read| match read {
                    Read::Data(bytes) => {
                        print!("a client hears: {}", String::from_utf8_lossy(bytes))
                    }
                    Read::Eof | Read::Error(_) => {
                        client.close();
                        // That was all; the script ends when nobody talks to it.
                        if let Err(error) = channel.disconnect() {
                            println!("it has gone already: {error}");
                        }
                    }
                })
            });
            if let Err(error) = reading {
                println!("no answer: {error}");
            }
        })
    });
    if let Err(error) = connected {
        println!("no connection: {error}");
    }
}
