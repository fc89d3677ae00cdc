// Package encode turns Media Services presets into runs of ffmpeg, and runs them.
//
// [ParsePreset] validates a preset when a transform is made; [Probe] looks at an input, [NewPlan] joins the two
// and [Run] does the work: one ffmpeg process for all renditions, which decodes once. What it leaves is checked
// to be streamable and described by a server manifest ({name}.ism).
//
// # Invariants
//
//   - Renditions of one plan have sync samples at the same times, every two seconds unless the preset says otherwise, in closed
//     GOPs; they can be switched at each fragment.
//   - Nothing is scaled up.
//   - ffmpeg reads the one local file it is given: no network protocol and no format that refers to other files is open to it.
//   - ffmpeg and ffprobe see nothing of the server's environment but where programs, libraries and temporary files are.
//   - An input takes no more of the machine than 35 million pixels a picture and, on Linux, 4 GiB of memory and 256 MiB more
//     for each core; there the kernel ends ffmpeg first when memory runs out. How long it may take is the caller's to bound.
//   - Run leaves no process behind: a done context kills ffmpeg's process group. On Linux ffmpeg also dies with the server.
//   - A property of a preset that is not built is refused by name, never passed over.
//
// # Crashes
//
// Run is not resumed. Whoever ran it empties the output directory and runs it again; until Run has returned, no file
// there is whole.
//
// ffmpeg and ffprobe (5.1 or newer, with libx264 and aac) are found on PATH and run as separate programs.
//
// Specification: the Azure Media Services encoding REST API, 2022-07-01; ladders as in its documentation of the built-in
// presets.
//
// # Divergences
//
//   - AdaptiveStreaming reproduces the documented ladders (1080p, 720p, 360p) and interpolates between them; Azure's
//     function is not published. The configurations object, which Azure takes for ContentAwareEncoding only, is read here for its
//     complexity, keyFrameIntervalInSeconds and limits.
//   - Not built, and refused: ContentAwareEncoding and the H.265, Dolby Digital and analyzer presets; filters and overlays, thumbnails,
//     TransportStreamFormat, CBR and CRF, and layer options such as slices and frameRate.
//   - No client manifest (.ismc), no {name}_manifest.xml and no .mpi files are written.
package encode
