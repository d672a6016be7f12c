/** What the server is asked. It may be busy, gone for a while, or want a token: then it is asked again. */
import { ask, the } from "./make.js";

/** What the server refuses for good, or can't do. */
export class Refused extends Error {}

/** Dispatches "change" when `trouble`, a sentence or nothing, is another. */
export const server = Object.assign(new EventTarget(), { trouble: "" });

const [PATIENCE_MS, TRIES] = [60_000, 3]; // for one answer, and where the server fails or is silent though it is there

/** Return the answer to a request: JSON, or with `as: "blob"` its content. */
export async function request(path, { body, type, as = "json" } = {}) {
  for (let tries = 0, waits = 0; tries < TRIES; ) {
    const token = sessionStorage.getItem("token");
    const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...(type && { "Content-Type": type }) };
    try {
      const asking = { method: body ? "POST" : "GET", body, headers, signal: AbortSignal.timeout(PATIENCE_MS) };
      const answer = await fetch(path, { ...asking, cache: "no-store" });
      if (answer.ok) return await answer[as]().finally(() => trouble(""));
      if (answer.status === 401) await newToken(token);
      else if (answer.status === 503) await busy(Number(answer.headers.get("Retry-After")) || 2);
      else if (answer.status >= 500 || answer.status === 408) await pass(++tries);
      else throw new Refused((await answer.json().catch(() => ({}))).detail ?? `The server answers ${answer.status}.`);
    } catch (error) {
      if (error instanceof Refused) throw error;
      if (error.name === "TimeoutError") tries++;
      const seconds = Math.min(2 ** waits++, 8);
      trouble(`The server doesn’t answer. The page asks again in ${seconds} s; nothing is lost.`);
      await pass(seconds);
    }
  }
  trouble("");
  throw new Refused("The server failed on this photo, or gave no answer in time.");
}

const pass = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

function busy(seconds) {
  trouble(`The server is busy. The page asks again in ${seconds} s; nothing is lost.`);
  return pass(Math.min(seconds, 60) * (1 + Math.random() / 4)); // not all at once
}

function trouble(sentence) {
  if (sentence === server.trouble) return;
  server.trouble = sentence;
  server.dispatchEvent(new Event("change"));
}

let asked = null; // for a token, once however many requests wait for it

function newToken(refused) {
  if (sessionStorage.getItem("token") !== refused) return null; // another one was given meanwhile
  asked ??= askToken(refused).finally(() => { asked = null; });
  return asked;
}

async function askToken(refused) {
  const field = the("token").querySelector("input");
  if (refused) the("refusal").textContent = "The server doesn’t take this token; ask who runs it for another.";
  for (field.value = ""; !field.value; ) await ask(the("token"));
  sessionStorage.setItem("token", field.value);
}
