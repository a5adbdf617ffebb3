// The other end of the tests in with_node.rs: does what the first element of a message says.
'use strict';
const assert = require('assert');
const util = require('util');
const v8 = require('v8');

// What Node's own reader of the advanced serialization does, for bytes in a buffer.
class Reader extends v8.DefaultDeserializer {
  _readHostObject() {
    const kind = this.readUint32();
    if (kind === 0) return super._readHostObject();
    assert.strictEqual(kind, 1);
    const object = this.readValue();
    assert(object !== null && typeof object === 'object');
    return object;
  }
}

function read(bytes) {
  const reader = new Reader(Buffer.from(bytes));
  reader.readHeader();
  return reader.readValue();
}

// Values from a small generator with a seed (mulberry32).
let seed = 1;
function random(n) {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % n;
}

const pick = (...list) => list[random(list.length)];
const int = () => pick(random(200) - 100, (random(2 ** 32) | 0), 0, -1, 2 ** 31 - 1, -(2 ** 31));
const double = () => pick(random(1000) / 7, 2 ** 31, -(2 ** 31) - 1, -0, NaN, Infinity, 1e300, 5e-324);
const big = () => pick(1n, -1n, 2n) ** BigInt(random(300));
const bytes = (n) => Uint8Array.from({ length: n }, () => random(256));

function text() {
  const top = pick(0x7f, 0x7f, 0x100, 0x1000, 0x10000, 0x110000);
  return String.fromCodePoint(...Array.from({ length: random(12) }, () => random(top)));
}

function value(depth, seen) {
  const leaf = [int, int, double, big, text, text, () => null, () => undefined, () => true, () => false];
  if (depth === 0 || random(3) === 0) return pick(...leaf)();
  const inner = () => value(depth - 1, seen);
  const times = (make) => Array.from({ length: random(5) }, make);
  const made = pick(
    // V8 goes by what it has stored in the same place before, and sends small numbers as doubles
    // where there were others. So names and places tell what is stored under them.
    () => Object.fromEntries(times(() => named(pick('k', 'l', text()), random(99), inner()))),
    () => Object.fromEntries(times(() => [random(50), inner()])),
    () => [int(), ...times(inner), 'x'],
    () => [1, int(), int(), 2],
    () => [0.5, double(), double(), 7],
    () => { const a = [1, , 'x']; a[random(20) + 3] = inner(); return a; },
    () => Object.assign([inner()], { name: 1 }),
    () => new Map(times(() => [inner(), inner()])),
    () => new Set(times(inner)),
    () => new Date(pick(0, random(2 ** 31) * 1000, NaN, 8.64e15, -1)),
    () => new RegExp(pick('a', 'a+b', '\\d', '€'), pick('', 'g', 'gimsuy', 'd', 'v')),
    () => Object(pick(true, false, int(), double(), big(), text())),
    () => Buffer.from(bytes(random(20))),
    () => new (pick(Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array,
                    Float32Array, Float64Array, DataView, BigInt64Array, BigUint64Array))(bytes(24).buffer),
    () => bytes(random(9)).buffer,
    () => new ArrayBuffer(random(9), { maxByteLength: 16 }),
    () => {
      const error = new (pick(Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError))('m');
      error.stack = text();
      return error;
    },
    () => (seen.length ? pick(...seen) : {}),
  )();
  if (random(2)) seen.push(made);
  return made;
}

function named(name, number, it) {
  return [`${Number.isInteger(it) && Object.is(it | 0, it) ? 'int' : typeof it}${name}${number}`, it];
}

function cyclic(depth) {
  const seen = [];
  const root = { list: seen, inside: value(depth, seen) };
  if (random(2)) root.self = root;
  return root;
}

const show = (it) => util.inspect(it, { depth: 30, maxArrayLength: 1e4, maxStringLength: 1e6, breakLength: Infinity });

const commands = {
  version: () => process.version,
  make: (source) => (0, eval)(source),
  random: (start) => { seed = start; return cyclic(4); },
  // Whether a value is what was made of the source or the seed here.
  same: (made, received) => {
    const expected = typeof made === 'number' ? commands.random(made) : (0, eval)(made);
    if (show(expected) === show(received)) return true;
    // A DataView shows its whole buffer, which is another one after the journey.
    const view = show(expected).includes('DataView') && util.isDeepStrictEqual(expected, received);
    return view || `${show(expected)} became ${show(received)}`;
  },
  echo: (received) => received,
  json: (received) => JSON.stringify(received),
  parse: (received) => JSON.parse(received),
  number: (list) => list.map(String),
  read: (list) => list.map((bytes) => {
    try {
      return [read(bytes)];
    } catch (error) {
      return String(error);
    }
  }),
};

process.on('message', ([name, ...args]) => {
  try {
    process.send([commands[name](...args)]);
  } catch (error) {
    process.send({ threw: String(error) });
  }
});
process.on('disconnect', () => process.exit());
