// Numbers, instants and durations as people read them.

const whole = new Intl.NumberFormat("en");
const few = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });
const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});
const utcDay = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", timeZone: "UTC" });
const day = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });

export const count = (n) => (n === null || n === undefined ? "–" : whole.format(n));
export const short = (n) => (n === null || n === undefined ? "–" : few.format(n));
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
export const now = () => Date.now() / 1000;

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  let size = n;
  while (size >= 1000 && at < units.length - 1) [size, at] = [size / 1000, at + 1];
  return `${at === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[at]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 1) return "under 1 s";
  if (s < 60) return `${s} s`;
  if (s < 3600) return join(s, 60, "min", "s");
  if (s < 86400) return join(s, 3600, "h", "min", 60);
  return join(s, 86400, "d", "h", 3600);
}

function join(s, large, name, rest, small = 1) {
  const more = Math.floor((s % large) / small);
  return `${Math.floor(s / large)} ${name}${more ? ` ${more} ${rest}` : ""}`;
}

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}

/** "14:02:11" today, else with its date. */
export function instant(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const when = new Date(seconds * 1000);
  const text = clock.format(when);
  return when.toDateString() === new Date().toDateString() ? text : `${day.format(when)}, ${text}`;
}

/** A day of the service's books, which are kept in UTC. */
export const date = (seconds) => utcDay.format(new Date(seconds * 1000));

/** An amount as the API gives it: a decimal text and a currency; small ones with more places. */
export function money(amount) {
  if (amount === null || amount === undefined) return "–";
  const value = Number(amount.value);
  const places = value !== 0 && Math.abs(value) < 1 ? 6 : 2;
  return new Intl.NumberFormat("en", {
    style: "currency",
    currency: amount.currency,
    maximumFractionDigits: places,
  }).format(value);
}

export function ago(seconds, from = now()) {
  if (seconds === null || seconds === undefined) return "–";
  const apart = from - seconds;
  if (Math.abs(apart) < 2) return "just now";
  return apart > 0 ? `${rough(apart)} ago` : `in ${rough(-apart)}`;
}

/** A duration in its largest unit. */
export function rough(seconds) {
  for (const [unit, length] of [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
  ]) {
    if (seconds >= 1.5 * length) return `${Math.round(seconds / length)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

export const percent = (share) =>
  `${share >= 0.9995 || share === 0 ? Math.round(share * 100) : (share * 100).toFixed(1)} %`;

export function title(name) {
  const text = String(name).replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
