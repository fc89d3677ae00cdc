// Plays streams in headless Chromium with hls.js, Shaka Player and dash.js. The argument is a JSON array of
// {name, player, url}; prints, by name, the position that was reached, the frames that were shown and dropped, the size
// of the picture, and the player's fatal error if there was one.
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const scripts = {
  "hls.js": "hls.js/dist/hls.min.js",
  shaka: "shaka-player/dist/shaka-player.compiled.js",
  "dash.js": "dashjs/dist/modern/umd/dash.all.min.js",
};

// The page has an origin of its own, so that the streams are fetched across origins, as by any viewer's page.
const server = createServer((request, response) => {
  const player = decodeURIComponent(request.url.slice(1));
  if (player in scripts) {
    response.setHeader("Content-Type", "text/javascript");
    createReadStream(new URL(`node_modules/${scripts[player]}`, import.meta.url)).pipe(response);
    return;
  }
  response.setHeader("Content-Type", "text/html");
  response.end("<!doctype html><video muted width=320></video>");
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
});

// play runs in the page. It ends when the stream does, at a fatal error, or after 30 s.
async function play({ player, url }) {
  const video = document.querySelector("video");
  const failed = new Promise((fail) => {
    video.addEventListener("error", () => fail(`video: ${video.error.message}`));
    switch (player) {
      case "hls.js": {
        const hls = new Hls();
        hls.on(Hls.Events.ERROR, (_, e) => e.fatal && fail(`${e.type} ${e.details} ${e.response?.code ?? ""}`.trim()));
        hls.loadSource(url);
        hls.attachMedia(video);
        break;
      }
      case "shaka": {
        shaka.polyfill.installAll();
        const p = new shaka.Player();
        p.addEventListener("error", (e) => fail(`shaka ${e.detail.code} ${e.detail.data}`));
        p.attach(video).then(() => p.load(url)).catch((e) => fail(`shaka ${e.code} ${e.data}`));
        break;
      }
      case "dash.js": {
        const p = dashjs.MediaPlayer().create();
        p.on("error", (e) => fail(`dash.js ${e.error.code} ${e.error.message}`));
        p.initialize(video, url, true);
        break;
      }
    }
  });
  const ended = new Promise((done) => video.addEventListener("ended", () => done("")));
  const late = new Promise((done) => setTimeout(done, 30_000, "did not end within 30 s"));
  video.addEventListener("canplay", () => video.play(), { once: true });
  const error = await Promise.race([failed, ended, late]);
  const quality = video.getVideoPlaybackQuality();
  return {
    error, time: video.currentTime, duration: video.duration, start: video.buffered.length ? video.buffered.start(0) : -1,
    frames: quality.totalVideoFrames, dropped: quality.droppedVideoFrames, width: video.videoWidth,
  };
}

const played = {};
await Promise.all(JSON.parse(process.argv[2]).map(async (stream) => {
  const context = await browser.newContext({ ignoreHTTPSErrors: true }); // Chromium takes CAs from an NSS store alone
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.addScriptTag({ url: `/${encodeURIComponent(stream.player)}` });
  played[stream.name] = await page.evaluate(play, stream);
  await context.close();
}));
await browser.close();
server.close();
console.log(JSON.stringify(played));
