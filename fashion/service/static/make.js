/** Elements and words. Whatever a text holds, it stays text. */

/** Return the element of the page with that id. */
export const the = (id) => document.getElementById(id);

/** Return a new element with these attributes, `className` and other properties among them. */
export function make(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(given)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** Return a text as it is shown: without what turns, hides or breaks it, and at most so long. */
export function shown(text, most = 300) {
  const cut = text.length > most ? `${text.slice(0, most / 2)}…${text.slice(-most / 2)}` : text;
  return cut.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, "\u2423");
}

export const count = new Intl.NumberFormat("en").format;

/** Return "1 photo" or "2,000 photos". */
export const many = (number, one) => `${count(number)} ${one}${number === 1 ? "" : "s"}`;

/** Return a probability in per cent; only what is certain is 100 %. */
export const percent = (p) => `${p > 0.99 ? Math.floor(p * 1000) / 10 : Math.round(p * 100)} %`;

/** Say something above the photos until it is closed or something else is said. */
export function notice(text, isMild = false) {
  the("notice").hidden = !text;
  the("notice").classList.toggle("mild", isMild);
  the("notice").firstElementChild.textContent = text;
}

/** Open a dialog; return, once it is closed, the value of the button that closed it. */
export function ask(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}
