// Drives the sign-in page in headless Chromium. Arguments: URL of the authority, tenant, client id of a public client, of a web
// application (redirect http://localhost/cb), sign-in name, whose password is in PASSWORD. Prints what was found.
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [login, tenant, program, web, name] = process.argv.slice(2);
const password = process.env.PASSWORD;
const found = { errors: [] };

// The application's own server, and that of somebody who means no good.
const server = createServer((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    response.setHeader("Content-Type", "text/html");
    if (request.url.startsWith("/forged")) {
      response.end(`<form method=post action="${login}/common/login"><input name=login value="${name}"><input name=passwd value="${password}">
        <input name=request value="client_id=${program}&amp;redirect_uri=http://localhost&amp;response_type=code&amp;scope=openid"><input name=ver value=2><button>go</button></form>`);
    } else if (request.url.startsWith("/frame")) {
      response.end(`<iframe src="${link()}"></iframe>`);
    } else {
      response.end(`<p id=back>${request.url} ${body}</p>`);
    }
  });
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const own = `http://localhost:${server.address().port}`;

function link(more = {}) {
  const query = { client_id: program, redirect_uri: own, response_type: "code", scope: "https://management.azure.com/.default openid", state: "s", ...more };
  return `${login}/${tenant}/oauth2/v2.0/authorize?${new URLSearchParams(query)}`;
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--no-proxy-server"] });

async function newPage(options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.on("console", (m) => m.type() === "error" && !/favicon|401|403|429/.test(m.text()) && found.errors.push(m.text()));
  return page;
}

async function signIn(page, secret) {
  await page.getByLabel("User name").fill(name);
  await page.getByLabel("Password").fill(secret);
  await page.getByRole("button", { name: "Sign in" }).click();
}

const back = async (page) => (await page.locator("#back").textContent()).includes("code=");

const page = await newPage();
await page.goto(link());
found.focus = await page.evaluate(() => document.activeElement.id);
found.labels = await page.locator("label").allTextContents();
await signIn(page, "wrong");
found.wrong = await page.getByRole("alert").textContent();
await signIn(page, password);
found.code = await back(page);
await page.goto(link()); // signed in: no question
found.again = await back(page);
await page.goto(link({ client_id: web, redirect_uri: `${own}/cb`, response_mode: "form_post" })); // another application: the question whether it may
found.consent = (await page.getByRole("listitem").allTextContents()).join();
await page.getByRole("button", { name: "Accept" }).click();
found.form_post = await back(page);

// Another site's form, in the browser of somebody who is signed in, and of somebody who is not.
for (const [key, forged] of [["forged session", page], ["forged", await newPage()]]) {
  await forged.goto(`http://127.0.0.1:${server.address().port}/forged`);
  const [answer] = await Promise.all([forged.waitForNavigation(), forged.getByRole("button").click()]);
  found[key] = key === "forged" ? answer.status() : answer.status() !== 403;
}
const framer = await newPage();
await framer.goto(`${own}/frame`);
found.framed = await framer.frameLocator("iframe").getByLabel("Password").isVisible().catch(() => false);
found.errors = found.errors.filter((e) => !/frame-ancestors|Refused to display|Framing/.test(e));

await page.goto(`${login}/common/oauth2/v2.0/logout`);
found["signed out"] = await page.locator("h1").textContent();
await page.goto(link());
found.after = await page.locator("h1").textContent();

const plain = await newPage({ javaScriptEnabled: false });
await plain.goto(link({ client_id: web, redirect_uri: `${own}/cb`, response_mode: "form_post" }));
await signIn(plain, password);
await plain.getByRole("button", { name: "Continue" }).click();
found["without scripts"] = await back(plain);

for (let i = 0; i < 11; i++) {
  await page.goto(link());
  await signIn(page, "wrong");
}
found.locked = await page.getByRole("alert").textContent();
await browser.close();
server.close();
console.log(JSON.stringify(found));
