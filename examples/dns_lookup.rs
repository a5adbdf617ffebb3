//! Looks several names up at once, and the names of their addresses.
//!
//! ```text
//! cargo run --example dns_lookup -- localhost ::1 127.0.0.1
//! ```

use blacklight::dns::{self, Hints, NameFlags};
use blacklight::{EventLoop, LoopRef, Result, RunMode};

fn look_up(lp: &LoopRef, name: String) -> Result<()> {
    let (again, asked) = (lp.clone(), name.clone());
    let request = dns::getaddrinfo(Some(&asked), None, Hints::tcp());
    request.start(lp, move |found| match found {
        Ok(found) => {
            for info in found {
                if let Err(error) = look_back(&again, name.clone(), info.address) {
                    eprintln!("{name}: {error}");
                }
            }
        }
        Err(error) => eprintln!("{name}: {error}"),
    })?;
    Ok(())
}

fn look_back(lp: &LoopRef, name: String, address: std::net::SocketAddr) -> Result<()> {
    dns::getnameinfo(address, NameFlags::NUMERIC_SERVICE).start(lp, move |names| match names {
        Ok(names) => println!("{name}\t{}\t{}", address.ip(), names.host),
        Err(error) => println!("{name}\t{}\t({error})", address.ip()),
    })?;
    Ok(())
}

fn main() -> Result<()> {
    let lp = EventLoop::new()?;
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names.push("localhost".into());
    }
    for name in names {
        look_up(&lp, name)?;
    }
    lp.run(RunMode::Default)?;
    Ok(())
}
