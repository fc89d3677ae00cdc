// Package stream packages progressive MP4 files for streaming, on request and without re-encoding: CMAF segments
// under HLS and DASH manifests, clear or under the AES-128 envelope, at the URLs that Azure Media Services used.
//
// It is pure: an [io.ReaderAt] goes in, bytes come out. It opens nothing, keeps nothing and starts nothing. The
// caller reads the server manifest ({name}.ism) with [ParseServerManifest] and each file that it lists with [Open],
// joins them with [NewPresentation] (all three results are immutable and may be cached), and answers each request
// with [ParseRequest], [Presentation.Respond] and [Response.Write].
//
// # Invariants
//
//   - Every fragment starts at a sync sample, and all video renditions are cut at the same presentation times. Files
//     that cannot be cut so are refused by [NewPresentation]; nothing is served misaligned.
//   - The size of a response is exact before its first byte is written, encrypted or not.
//   - A response depends only on the files, the request and the [Options]: two servers, or one server before and after
//     a crash, give the same bytes. There is no state that a crash could harm.
//   - Files are hostile until parsed: sizes are checked against the file before memory is taken, counts have limits,
//     boxes are looked for at fixed depths, and no input panics (fuzz tests hold it so).
//
// # Timeline
//
// Edit lists are honoured: the init segment carries the file's edit, so that the first frame shown is shown at zero
// (the reordering delay of B-frames and the priming of audio come before it), and fragments keep the file's decode
// times and composition offsets. Negative composition offsets, the other way to say this, are read by libavformat as a
// delay of the video against the audio. Times in URLs and in the MPD are presentation times in units of 100 ns, as in
// Azure; media segments keep their file's own timescale.
//
// Specifications: ISO/IEC 14496-12 (boxes), ISO/IEC 23000-19 (CMAF), RFC 8216 (HLS), ISO/IEC 23009-1 (DASH), and
// the Azure Media Services documentation on dynamic packaging, for URLs and the server manifest.
//
// # Divergences from Azure Media Services
//
//   - Formats: m3u8-cmaf, mpd-time-cmaf and mpd-time-csf. MPEG-TS (m3u8-aapl) and Smooth Streaming are refused with 400.
//   - BANDWIDTH is the measured peak over the segments, as RFC 8216 asks; Azure gave the nominal bitrate.
//   - encryption=cbc is served for HLS only; each segment has its own IV. cenc, cbcs-aapl and piff are refused.
//   - A token given on the master playlist is carried to all URIs below it, so no playlist proxy is needed.
//   - No client manifest ({name}.ismc) is written: only Smooth Streaming needs it. No filters yet.
package stream
