//! The same messages in a real `node`, with its end of the channel on standard input.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use blacklight::child_process::{
    CodecError, Decoder, Encoder, Kind, Limits, Serialization, Value, json, v8,
};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::hex;
use crate::strategies::{json_value, value};

/// A node that answers; the frames go through the public encoder and decoder.
struct Node {
    process: Child,
    channel: UnixStream,
    encoder: Encoder,
    decoder: Decoder,
}

impl Node {
    /// Nothing where there is no node, with a word about it.
    fn start(serialization: Serialization) -> Option<Node> {
        let (channel, theirs) = UnixStream::pair().unwrap();
        let process = Command::new("node")
            .args(["-e", include_str!("peer.js")])
            .env("NODE_CHANNEL_FD", "0")
            .env("NODE_CHANNEL_SERIALIZATION_MODE", serialization.name())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn();
        let Ok(process) = process else {
            eprintln!("skipped: there is no node here");
            return None;
        };
        let encoder = Encoder::new(serialization, Limits::default());
        let decoder = Decoder::new(serialization, Limits::default());
        let mut node = Node { process, channel, encoder, decoder };
        let version = node.ask("version", []);
        // Others differ in bytes that are no business of a test; what they read is the same.
        if !version.windows(4).any(|text| text == b"v20.") {
            eprintln!("skipped: this node is not v20");
            return None;
        }
        Some(node)
    }

    /// The bytes of the answer to a command.
    fn ask(&mut self, name: &str, arguments: impl IntoIterator<Item = Value>) -> Vec<u8> {
        let command = Value::array([Value::from(name)].into_iter().chain(arguments));
        self.channel.write_all(&self.encoder.encode(&command).unwrap()).unwrap();
        let mut room = vec![0; 1 << 16];
        loop {
            if let Some(frame) = self.decoder.next_frame() {
                return frame.unwrap().to_vec();
            }
            let length = self.channel.read(&mut room).unwrap();
            assert_ne!(length, 0, "node has gone");
            self.decoder.feed(&room[..length]);
        }
    }

    /// What came back, without the array around it.
    fn answer(&mut self, name: &str, arguments: impl IntoIterator<Item = Value>) -> Value {
        let answer = read(&self.ask(name, arguments)).unwrap();
        answer.at(0).unwrap_or_else(|| panic!("{name}: {answer:?}")).clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(bytes: &[u8]) -> Result<Value, CodecError> {
    v8::deserialize(bytes, &Limits::default())
}

fn samples(count: usize, strategy: impl Strategy<Value = Value>) -> Vec<Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// Expressions for what a generator does not come by.
const EXPRESSIONS: [&str; 48] = [
    "'x'.repeat(1e5)",
    "'é'.repeat(200)",
    "'€'.repeat(200)",
    "'\\ud800'",
    "'a\\udc00\\ud800b'",
    "'😀'",
    "'\\0'",
    "2**53",
    "-(2**53)",
    "4294967295",
    "1e21",
    "2n**1000n",
    "-(2n**63n)",
    "2n**64n-1n",
    "[[],[[]],{}]",
    "new Array(5)",
    "[,]",
    "[1,,3]",
    "[undefined,null]",
    "Object.assign([1,2],{b:1,a:2})",
    "Array.from({length:300},(_,i)=>i)",
    "Array.from({length:300},(_,i)=>i/2)",
    "Object.fromEntries(Array.from({length:300},(_,i)=>['k'+i,i]))",
    "Object.fromEntries(Array.from({length:300},(_,i)=>[300-i,i]))",
    "({4294967294:1,4294967295:2,2147483648:3,2147483647:4,'-1':5,'01':6,'1.5':7})",
    "JSON.parse('{\"__proto__\":{\"a\":1}}')",
    "({'€':1,'':2,'\\ud800':3,'a b':4})",
    "new Map().set(NaN,1).set(-0,2).set('',3).set(null,4).set(undefined,5).set({},6)",
    "new Set([1n,NaN,'x',[]])",
    "(o=>[o,o,{o}])({})",
    "(o=>(o.self=o,o))({})",
    "(a=>(a.push(a),a))([])",
    "(m=>(m.set(m,m),m))(new Map())",
    "(s=>(s.add(s),s))(new Set())",
    "(o=>(o.a={b:[o]},o.c=o.a,o))({})",
    "(d=>[d,d])(new Date(0))",
    "(b=>[b,b,new Uint8Array(b)])(new ArrayBuffer(4))",
    "(e=>(delete e.stack,e))(new Error())",
    "(e=>(e.stack='s',e))(new Error())",
    "(e=>(e.stack='s',e))(new TypeError('m'))",
    "(e=>(e.stack='€',e))(new RangeError('ü'))",
    "Buffer.alloc(70000, 'ab')",
    "new Uint8Array(Buffer.from('abc').buffer, 1, 1)",
    "Buffer.from('hello').subarray(1,3)",
    "new Float64Array([NaN,-0,1e300])",
    "new DataView(new ArrayBuffer(8), 2, 3)",
    "/[/]\\n€/giu",
    "new Date(1.5)",
];

#[test]
fn what_node_makes_is_read_and_written_as_node_does() {
    let Some(mut node) = Node::start(Serialization::Advanced) else { return };
    let sources = EXPRESSIONS.iter().map(|source| Value::from(*source));
    let seeds = (1..1500).map(|seed| (seed * 7919).into());
    for (case, source) in sources.chain(seeds).enumerate() {
        let command = if case < EXPRESSIONS.len() { "make" } else { "random" };
        let bytes = node.ask(command, [source.clone()]);
        let answer = read(&bytes).unwrap_or_else(|e| panic!("{source:?}: {e}: {}", hex(&bytes)));
        let made = answer.at(0).unwrap_or_else(|| panic!("{source:?}: {answer:?}")).clone();
        assert_eq!(hex(&v8::serialize(&answer).unwrap()), hex(&bytes), "{source:?}");
        let same = node.answer("same", [source.clone(), made.clone()]);
        assert_eq!(same, true.into(), "{source:?}");
        // And as JSON, where there is one.
        match json::stringify(&made) {
            Ok(text) => {
                let theirs = node.answer("json", [made]);
                let ours = json::parse(&text, &Limits::default()).unwrap();
                assert_eq!(theirs.as_str(), Some(&*String::from_utf8(text).unwrap()));
                assert_eq!(node.answer("parse", [theirs]), ours);
            }
            Err(_) => {
                let answer = read(&node.ask("json", [made])).unwrap();
                assert!(answer.get("threw").is_some(), "{source:?}: {answer:?}");
            }
        }
    }
}

#[test]
fn what_is_written_here_comes_back_from_node() {
    let Some(mut node) = Node::start(Serialization::Advanced) else { return };
    for value in samples(1500, value()) {
        let back = node.answer("echo", [value.clone()]);
        assert_eq!(back, value, "{}", hex(&v8::serialize(&value).unwrap()));
    }
}

#[test]
fn json_is_written_and_read_as_node_does() {
    let Some(mut node) = Node::start(Serialization::Json) else { return };
    for value in samples(1500, json_value()) {
        let line = node.ask("echo", [value.clone()]);
        let sent = json::stringify(&Value::array([value.clone()])).unwrap();
        assert_eq!(String::from_utf8(line), String::from_utf8(sent));
    }
    for seed in 1..500 {
        // What node sends of values that JSON has no words for, or says that it cannot.
        let line = node.ask("random", [(seed * 104_729).into()]);
        let value = json::parse(&line, &Limits::default()).unwrap();
        let again = json::stringify(&value).unwrap();
        assert_eq!(String::from_utf8(again), String::from_utf8(line));
    }
}

#[test]
fn numbers_are_written_as_node_does() {
    let Some(mut node) = Node::start(Serialization::Advanced) else { return };
    let mut numbers = vec![1e21, 1e-7, 123456789.125, 5e-324, f64::MAX, 2f64.powi(53), 0.1 + 0.2];
    let mut bits = 0x9e37_79b9_7f4a_7c15u64;
    for power in -330..310 {
        for _ in 0..8 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            numbers.push((bits % 100_000) as f64 * 10f64.powi(power));
            numbers.push(f64::from_bits(bits));
            // These have few bits, so that the shortest digits may be halfway between two.
            numbers.push(f64::from(f32::from_bits(bits as u32)));
            numbers.push((bits >> 40 | 1) as f64 * 2f64.powi((bits % 200) as i32 - 100));
        }
    }
    numbers.retain(|number| number.is_finite());
    let texts = node.answer("number", [Value::array(numbers.iter().copied())]);
    for (index, number) in numbers.iter().enumerate() {
        let text = json::stringify(&Value::from(*number)).unwrap();
        assert_eq!(texts[index].as_str().map(str::as_bytes), Some(&text[..]), "{number:e}");
        assert_eq!(json::parse(&text, &Limits::default()), Ok((number + 0.0).into()));
    }
}

const TAGS: &[u8] = b"?-_0TFIUNZ\"cS^o{A$a@DyxnzsR;:',B~V\\r.mc";

/// Takes and refuses what node does, on damaged messages: with the same values, too.
#[test]
fn damaged_messages_are_judged_as_node_does() {
    let Some(mut node) = Node::start(Serialization::Advanced) else { return };
    let mut state = 12345u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut differing = Vec::new();
    for chunk in samples(600, value()).chunks(50) {
        let damaged: Vec<Vec<u8>> = chunk
            .iter()
            .flat_map(|value| std::iter::repeat_n(v8::serialize(value).unwrap(), 8))
            .map(|mut bytes| {
                for _ in 0..1 + random(2) {
                    let at = random(bytes.len());
                    match random(4) {
                        0 => bytes[at] = random(256) as u8,
                        1 => bytes[at] = TAGS[random(TAGS.len())],
                        2 => drop(bytes.remove(at)),
                        _ => bytes.insert(at, bytes[random(bytes.len())]),
                    }
                    bytes.push(b'0');
                }
                bytes
            })
            .collect();
        let theirs =
            node.answer("read", [Value::array(damaged.iter().cloned().map(Value::buffer))]);
        for (index, bytes) in damaged.iter().enumerate() {
            let agree = match (read(bytes), theirs[index].at(0)) {
                (Ok(ours), Some(theirs)) => ours == *theirs,
                (ours, theirs) => ours.is_ok() == theirs.is_some(),
            };
            if !agree {
                differing.push(format!(
                    "{}\n  {:?}\n  {:?}",
                    hex(bytes),
                    read(bytes),
                    theirs[index]
                ));
            }
        }
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
}

#[test]
fn a_host_object_of_node_arrives_as_its_properties() {
    let Some(mut node) = Node::start(Serialization::Advanced) else { return };
    let source = "Object.assign(new (process.binding('pipe_wrap').Pipe)(0), { a: [1] })";
    let answer = read(&node.ask("make", [source.into()])).unwrap();
    let pipe = &answer[0];
    assert!(matches!(pipe.kind(), Some(Kind::Plain(_))), "{answer:?}");
    assert_eq!(pipe["a"], Value::array([1]));
}
