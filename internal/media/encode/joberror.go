package encode

import "strings"

// JobError is a failure as a job's output reports it (JobError in the Media Services API).
type JobError struct {
	Code     string // JobErrorCode: ContentMalformed, ContentUnsupported, ConfigurationUnsupported, ServiceError
	Category string // JobErrorCategory: Content, Configuration, Service
	Retry    string // JobRetry: DoNotRetry, MayRetry
	Message  string // for people; holds ffmpeg's last lines
	Err      error  // the cause, for the log
}

func (e *JobError) Error() string {
	if e.Err != nil {
		return e.Code + ": " + e.Message + ": " + e.Err.Error()
	}
	return e.Code + ": " + e.Message
}

// Unwrap returns the cause.
func (e *JobError) Unwrap() error { return e.Err }

const (
	contentMalformed         = "ContentMalformed"
	contentUnsupported       = "ContentUnsupported"
	configurationUnsupported = "ConfigurationUnsupported"
	serviceError             = "ServiceError"
)

func jobError(code, message string, err error) *JobError {
	e := &JobError{Code: code, Message: message, Err: err, Retry: "DoNotRetry"}
	switch code {
	case contentMalformed, contentUnsupported:
		e.Category = "Content"
	case configurationUnsupported:
		e.Category = "Configuration"
	default:
		e.Category, e.Retry = "Service", "MayRetry"
	}
	return e
}

// tooLarge is what ffmpeg says of a picture beyond -max_pixels.
const tooLarge = "exceeds specified max pixel count"

// symptoms are what ffmpeg says when it is not the service's fault, most telling first.
var symptoms = []struct{ says, code, message string }{
	{"No space left on device", serviceError, "The worker's disk is full."},
	{tooLarge, contentUnsupported, "The input's picture is larger than can be encoded here."},
	{"Cannot allocate memory", serviceError, "The worker is out of memory."},
	{"Unknown encoder", serviceError, "The installed ffmpeg lacks an encoder; install one with libx264 and aac."},
	{"not on whitelist", contentUnsupported, "The input is not a media file of a supported format."},
	{"Format not whitelisted", contentUnsupported, "The input is not a media file of a supported format."},
	{"Decoder (codec", contentUnsupported, "The input has a codec that cannot be decoded."},
	{"Unknown decoder", contentUnsupported, "The input has a codec that cannot be decoded."},
	{"matches no streams", contentUnsupported, "The input lacks a stream that the preset needs."},
	{"moov atom not found", contentMalformed, "The input is cut short: its movie header is missing."},
	{"Invalid data found when processing input", contentMalformed, "The input is damaged or not a media file."},
	{"could not find codec parameters", contentMalformed, "The input is damaged: a stream has no codec parameters."},
	{"End of file", contentMalformed, "The input is cut short."},
	{"Error reinitializing filters", contentUnsupported, "The input changes its format midway."},
	{"Error initializing output stream", configurationUnsupported, "The preset asks for an output that the encoder cannot make."},
	{"Could not open encoder", configurationUnsupported, "The preset asks for an output that the encoder cannot make."},
}

// classify makes a failure of ffmpeg or ffprobe, of which log is the end of what it said, a JobError.
func classify(err error, log string) *JobError {
	code, message := serviceError, "ffmpeg failed."
	for _, s := range symptoms {
		if strings.Contains(strings.ToLower(log), strings.ToLower(s.says)) {
			code, message = s.code, s.message
			break
		}
	}
	if log = strings.TrimSpace(log); log != "" {
		message += " It said: " + log
	}
	return jobError(code, message, err)
}
