// A picture -> its verdict, with a DefectFlow model and ONNX Runtime. NOT COMPILED OR RUN by this repository's tests.
//
//     dotnet run -- models/bracket/model.onnx picture.ppm ...
//
// One line per picture: file, decision, score, p-value. Exit code: 0 all ok or review, 1 any defective or invalid,
// 2 wrong use or an unusable picture. There is no pre-processing to re-write: the model takes the camera's pixels.

using System.Globalization;
using Microsoft.ML.OnnxRuntime;

namespace DefectFlow;

/// <summary>Higher decisions are worse: 0 ok, 1 review, 2 defect, 3 invalid.</summary>
public enum Decision : long { Ok = 0, Review = 1, Defect = 2, Invalid = 3 }

/// <summary>The score is dimensionless, higher is worse; the p-value is the share of good parts at least as unusual.</summary>
public readonly record struct Verdict(Decision Decision, float Score, float PValue);

/// <summary>Rows from the top, three bytes per pixel in the order red, green, blue, no gaps between rows.</summary>
public sealed record Picture(long Height, long Width, byte[] Rgb);

/// <summary>Keep one for as long as the program runs; Inspect may be called from several threads.</summary>
public sealed class Inspector(string model) : IDisposable
{
    private static readonly string[] Outputs = ["decision", "score", "p_value"];
    private readonly InferenceSession _session = new(model);
    private readonly RunOptions _run = new();

    public Verdict Inspect(Picture picture)
    {
        long[] shape = [1, picture.Height, picture.Width, 3];
        using OrtValue image = OrtValue.CreateTensorValueFromMemory(picture.Rgb, shape);
        var inputs = new Dictionary<string, OrtValue> { ["image"] = image }; // thresholds have calibrated defaults
        using var found = _session.Run(_run, inputs, Outputs);
        return new Verdict(
            (Decision)found[0].GetTensorDataAsSpan<long>()[0],
            found[1].GetTensorDataAsSpan<float>()[0],
            found[2].GetTensorDataAsSpan<float>()[0]);
    }

    public void Dispose()
    {
        _run.Dispose();
        _session.Dispose();
    }
}

public static class Program
{
    public static int Main(string[] words)
    {
        if (words.Length < 2)
        {
            Console.Error.WriteLine("use: inspect model.onnx picture.ppm ...");
            return 2;
        }
        int code = 0;
        using var inspector = new Inspector(words[0]);
        foreach (string file in words.Skip(1))
        {
            try
            {
                Verdict verdict = inspector.Inspect(ReadPpm(file));
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{file} {verdict.Decision.ToString().ToLowerInvariant()} {verdict.Score:G6} {verdict.PValue:G6}"));
                if (verdict.Decision >= Decision.Defect && code == 0) code = 1;
            }
            catch (Exception error) when (error is IOException or InvalidDataException or UnauthorizedAccessException or OverflowException)
            {
                Console.Error.WriteLine($"{file}: {error.Message}"); // one unusable picture stops nothing
                code = 2;
            }
        }
        return code;
    }

    // A binary PPM file (P6, 8 bits). On a line the pixels come from the camera's own library instead.
    private static Picture ReadPpm(string name)
    {
        using var file = new BinaryReader(File.OpenRead(name));
        string kind = Word(file);
        bool sized = long.TryParse(Word(file), out long width) & long.TryParse(Word(file), out long height);
        if (kind != "P6" || !sized || Word(file) != "255" || width is < 1 or > 30000 || height is < 1 or > 30000)
            throw new InvalidDataException("is not a binary PPM picture (P6) of 8 bits");
        byte[] rgb = file.ReadBytes(checked((int)(width * height * 3)));
        if (rgb.Length != width * height * 3) throw new InvalidDataException("is cut short");
        return new Picture(height, width, rgb);
    }

    // The next word of the header, and the one byte of white space after it. Comments are not understood.
    private static string Word(BinaryReader file)
    {
        var word = new List<char>();
        for (char next = (char)file.ReadByte(); !char.IsWhiteSpace(next) && word.Count < 20; next = (char)file.ReadByte())
            word.Add(next);
        return new string([.. word]);
    }
}
