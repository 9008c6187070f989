// Arithmetic of distributions, and how numbers are written. No DOM. Student first, teacher second, as in Python.
// A distribution is {probs, logs}; -Infinity among the logs is a class that is ruled out.

export const sum = (values) => values.reduce((total, value) => total + value, 0);

// softmax(logits / T), kept in log space so that logits of ±1e4 are harmless.
export function distribution(logits, temperature = 1) {
  const scaled = Array.from(logits, (z) => z / temperature);
  const top = Math.max(...scaled);
  if (top === -Infinity) return { probs: scaled.map(() => 0), logs: scaled };
  const total = Math.log(sum(scaled.map((z) => Math.exp(z - top))));
  const logs = scaled.map((z) => z - top - total);
  return { probs: logs.map(Math.exp), logs };
}

// log Σ exp(logits / T): the logarithm of the denominator of a softmax.
export function logSum(logits, temperature = 1) {
  const scaled = Array.from(logits, (z) => z / temperature);
  const top = Math.max(...scaled);
  return top === -Infinity ? top : top + Math.log(sum(scaled.map((z) => Math.exp(z - top))));
}

// share·a + (1 - share)·b
export function mix(a, b, share) {
  if (share === 0) return b;
  if (share === 1) return a;
  const logs = a.logs.map((log, i) => {
    const [x, y] = [log + Math.log(share), b.logs[i] + Math.log1p(-share)];
    const high = Math.max(x, y);
    return high === -Infinity ? high : high + Math.log1p(Math.exp(Math.min(x, y) - high));
  });
  return { probs: a.probs.map((x, i) => share * x + (1 - share) * b.probs[i]), logs };
}

const times = (x, y) => (x === 0 ? 0 : x * y); // 0·log 0 = 0
const ratio = (x, y) => (x === 0 ? 0 : x / y);

export const entropy = (p) => -sum(p.probs.map((x, i) => times(x, p.logs[i])));
const kl = (a, b) => a.probs.map((x, i) => times(x, a.logs[i] - b.logs[i])); // each class's part of KL(a ‖ b)

// For each divergence the share of every class, and q·dD/dq, from which the gradient follows (`divergence`, below).
const DIVERGENCES = {
  forward_kl: { shares: (q, p) => kl(p, q), slope: (q, p) => p.probs.map((x) => -x) },
  reverse_kl: { shares: (q, p) => kl(q, p), slope: (q, p) => kl(q, p) },
  jsd: {
    shares(q, p, { beta }) {
      const m = mix(p, q, beta);
      const [teacher, student] = [kl(p, m), kl(q, m)];
      return teacher.map((x, i) => beta * x + (1 - beta) * student[i]);
    },
    slope: (q, p, { beta }) => kl(q, mix(p, q, beta)).map((x) => (1 - beta) * x),
  },
  skew_forward_kl: {
    shares: (q, p, { skew }) => kl(p, mix(p, q, skew)),
    slope: (q, p, { skew }) => {
      const m = mix(p, q, skew).probs;
      return q.probs.map((x, i) => -(1 - skew) * ratio(x * p.probs[i], m[i]));
    },
  },
  skew_reverse_kl: {
    shares: (q, p, { skew }) => kl(q, mix(q, p, skew)),
    slope: (q, p, { skew }) => {
      const m = mix(q, p, skew);
      return kl(q, m).map((x, i) => x - skew * ratio(q.probs[i] ** 2, m.probs[i]));
    },
  },
  total_variation: {
    shares: (q, p) => q.probs.map((x, i) => Math.abs(p.probs[i] - x) / 2),
    slope: (q, p) => q.probs.map((x, i) => (-x * Math.sign(p.probs[i] - x)) / 2),
  },
};
DIVERGENCES.rescaled_jsd = {
  shares: (q, p, { beta }) =>
    beta === 0 || beta === 1
      ? DIVERGENCES[beta ? "reverse_kl" : "forward_kl"].shares(q, p)
      : DIVERGENCES.jsd.shares(q, p, { beta }).map((x) => x / (beta * (1 - beta))),
  slope: (q, p, { beta }) =>
    beta === 0 || beta === 1
      ? DIVERGENCES[beta ? "reverse_kl" : "forward_kl"].slope(q, p)
      : DIVERGENCES.jsd.slope(q, p, { beta }).map((x) => x / (beta * (1 - beta))),
};

// {value, shares, gradient}: nats, each class's part of them, and the gradient on the logits z of q = softmax(z / T).
export function divergence(name, q, p, { beta = 0.5, skew = 0.1, temperature = 1 } = {}) {
  const { shares, slope } = DIVERGENCES[name];
  const parts = shares(q, p, { beta, skew });
  const slopes = slope(q, p, { beta, skew });
  const mean = sum(slopes);
  return {
    value: Math.max(0, sum(parts)), // below 0 by rounding only
    shares: parts,
    gradient: slopes.map((x, i) => (x - q.probs[i] * mean) / temperature),
  };
}

// alpha·T²·KL(teacher ‖ student) + (1 - alpha)·CE, and the gradient of each weighted term on the student's logits.
export function kdLoss(student, teacher, label, { alpha, temperature }) {
  const softened = distribution(student, temperature);
  const plain = distribution(student);
  const kd = divergence("forward_kl", softened, distribution(teacher, temperature), { temperature });
  const hard = label < 0 ? 0 : -plain.logs[label];
  const weighted = [alpha * temperature ** 2 * (alpha && kd.value), alpha === 1 ? 0 : (1 - alpha) * hard];
  const softGradient = kd.gradient.map((x) => alpha * temperature ** 2 * x);
  const hardGradient = plain.probs.map((x, i) => (label < 0 ? 0 : (1 - alpha) * (x - (i === label))));
  return {
    soft: kd.value,
    hard,
    weighted,
    loss: weighted[0] + weighted[1],
    softGradient,
    hardGradient,
    gradient: softGradient.map((x, i) => x + hardGradient[i]),
  };
}

// The places of the `count` largest, in order; of equals the first.
export const leaders = (values, count) =>
  Array.from(values, (_, i) => i)
    .sort((a, b) => values[b] - values[a])
    .slice(0, count);

// The float16 numbers in a DataView, as numpy writes them.
export function halves(view) {
  return Float32Array.from({ length: view.byteLength / 2 }, (_, i) => {
    const bits = view.getUint16(2 * i, true);
    const [exponent, part] = [(bits >> 10) & 31, bits & 1023];
    const size = exponent === 31 ? (part ? NaN : Infinity) : exponent ? 2 ** (exponent - 25) * (1024 + part) : 2 ** -24 * part;
    return bits >> 15 ? -size : size;
  });
}

// ── how numbers are written ──────────────────────────────────────────────────────────────────────────────────────────

const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const raised = (whole) => String(whole).replace("-", "⁻").replace(/\d/g, (d) => SUPERSCRIPT[d]);
const signed = (text) => text.replace("-", "−");

// 0.312, −1.500, ∞
export function fixed(value, digits = 3) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : "−∞";
  const text = value.toFixed(digits);
  return signed(Number(text) === 0 ? text.replace("-", "") : text);
}

// Three figures, whatever the size: 0.312, 18.2, 2·10⁻⁶
export function short(value) {
  const size = Math.abs(value);
  if (!Number.isFinite(value) || size === 0) return fixed(value, 0);
  if (size >= 1e5 || size < 5e-4) return (value < 0 ? "−" : "") + power(Math.log(size));
  return fixed(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

// e^log, also where it does not fit a float: 12.3, 4.1·10³⁹⁰
export function power(log) {
  if (!Number.isFinite(log)) return log > 0 ? "∞" : "0";
  const tens = log / Math.LN10;
  if (tens > -3.3 && tens < 5) return short(Math.exp(log));
  let exponent = Math.floor(tens);
  let lead = (10 ** (tens - exponent)).toFixed(1);
  if (lead === "10.0") [lead, exponent] = ["1.0", exponent + 1];
  return `${lead}·10${raised(exponent)}`;
}

// A probability: 0.312, and a small one in full, because what T brings to light is small: 2.1·10⁻⁶
export const share = (p) => (p > 0 && p < 5e-4 ? power(Math.log(p)) : fixed(p, 3));

// ── scales ───────────────────────────────────────────────────────────────────────────────────────────────────────────

export const scale = (from, to, start, end) => (value) => start + ((value - from) / (to - from)) * (end - start);
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// Round numbers that cover [low, high]: about `count` of them, 1, 2 or 5 times a power of ten apart.
export function ticks(low, high, count = 5) {
  const raw = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

// The stops of a slider: a fine grid over [low, high], even or geometric, with the ends, the default and round numbers.
export function stops({ low, high, value, log = false, whole = false, values }) {
  if (values) return values;
  if (whole) return Array.from({ length: high - low + 1 }, (_, i) => low + i);
  const grid = Array.from({ length: 201 }, (_, i) => {
    const x = log ? low * (high / low) ** (i / 200) : low + ((high - low) * i) / 200;
    return Number(x.toPrecision(log ? 3 : 6));
  });
  const round = log ? [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20].filter((x) => x > low && x < high) : [];
  return [...new Set([low, ...grid.filter((x) => x > low && x < high), ...round, value ?? low, high])].sort((a, b) => a - b);
}
